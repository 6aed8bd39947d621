"""Metering and cost reports."""
