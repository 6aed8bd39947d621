"""How long an unsure answer is waited for."""

from core.routing.answer_lengths import ENOUGH, ROOM, AcceptedLengths


def test_only_the_callers_limit_counts_until_enough_was_seen() -> None:
    lengths = AcceptedLengths()
    for _ in range(ENOUGH - 1):
        lengths.accepted("small", "easy", 20)
    assert lengths.most("small", "easy", 80) == 80
    assert lengths.most("small", "easy", None) is None
    lengths.accepted("small", "easy", 10)
    assert lengths.most("small", "easy", 80) == ROOM * 20
    assert lengths.most("small", "easy", None) == ROOM * 20
    assert lengths.most("small", "easy", 25) == 25


def test_a_longer_accepted_answer_makes_room_for_longer_ones() -> None:
    lengths = AcceptedLengths()
    for tokens in (*[20] * ENOUGH, 60):
        lengths.accepted("small", "easy", tokens)
    assert lengths.most("small", "easy", None) == ROOM * 60


def test_models_and_classes_are_counted_apart() -> None:
    lengths = AcceptedLengths()
    for _ in range(ENOUGH):
        lengths.accepted("small", "easy", 20)
    assert lengths.most("small", "hard", None) is None
    assert lengths.most("mid", "easy", None) is None
