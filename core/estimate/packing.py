"""Whether tensor-parallel groups fit on nodes: a group never crosses a node's border."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from core.domain.plan import ReplicaKind


def groups_per_sku(placement: Mapping[ReplicaKind, int]) -> dict[str, dict[int, int]]:
    """Return per SKU how many groups of how many devices a placement needs.

    A replica is `pp` groups of `tp` devices; the groups of one replica may be on several nodes.
    """
    groups: dict[str, dict[int, int]] = {}
    for kind, count in placement.items():
        if count > 0:
            of_sku = groups.setdefault(kind.sku, {})
            of_sku[kind.tp] = of_sku.get(kind.tp, 0) + count * kind.pp
    return groups


def packs(groups: Mapping[int, int], nodes: Sequence[int]) -> bool:
    """Whether groups (size -> how many) fit on nodes (free devices of each); exact.

    Largest first is optimal when every size divides the next larger one, as 1, 2, 4, 8 do: what
    is left of a node then holds the same number of smaller groups wherever the larger ones went.
    Other sizes are searched exhaustively.
    """
    if sum(size * n for size, n in groups.items()) > sum(nodes):
        return False
    wanted = tuple(sorted(((s, n) for s, n in groups.items() if n > 0), reverse=True))
    if _largest_first(wanted, nodes):
        return True
    sizes = [size for size, _ in wanted]
    chain = all(a % b == 0 for a, b in pairwise(sizes))
    return not chain and _search(wanted, tuple(sorted(nodes, reverse=True)))


def _largest_first(wanted: tuple[tuple[int, int], ...], nodes: Sequence[int]) -> bool:
    free = sorted(nodes, reverse=True)
    for size, needed in wanted:
        left = needed
        for i, room in enumerate(free):
            taken = min(left, room // size)
            free[i] -= taken * size
            left -= taken
        if left:
            return False
    return True


@lru_cache(maxsize=20_000)
def _search(wanted: tuple[tuple[int, int], ...], nodes: tuple[int, ...]) -> bool:
    """Fill the first node in every way that matters, then the others."""
    if not any(count for _, count in wanted):
        return True
    if not nodes:
        return False
    return any(_search(rest, nodes[1:]) for rest in _fillings(wanted, nodes[0]))


def _fillings(wanted: tuple[tuple[int, int], ...], room: int) -> list[tuple[tuple[int, int], ...]]:
    if not wanted:
        return [()]
    (size, count), others = wanted[0], wanted[1:]
    return [
        ((size, count - taken), *rest)
        for taken in range(min(count, room // size), -1, -1)
        for rest in _fillings(others, room - taken * size)
    ]
