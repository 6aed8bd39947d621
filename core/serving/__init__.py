"""Devices, model servers, reconciliation, and the gateway."""
