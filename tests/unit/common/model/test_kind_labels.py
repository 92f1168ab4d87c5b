"""The label `kind` is bounded, and no kind changes its label: a counter would seem to fall."""

from hypothesis import given
from hypothesis import strategies as st

from acked_common.model.kind_labels import MOST_KINDS, OTHER, KindLabels


def test_the_first_kinds_keep_labels_of_their_own_and_all_others_share_one() -> None:
    labels = KindLabels()
    names = [f"kind-{number}" for number in range(MOST_KINDS + 30)]
    first = [labels.of(name) for name in names]
    assert first == [*names[:MOST_KINDS], *[OTHER] * 30]
    assert [labels.of(name) for name in names] == first
    assert labels.left_out == 30


def test_a_kind_that_is_called_other_takes_no_place_and_counts_as_none_left_out() -> None:
    labels = KindLabels(most=1)
    assert [labels.of(OTHER), labels.of("a"), labels.of(OTHER)] == [OTHER, "a", OTHER]
    assert labels.left_out == 0


def test_what_is_remembered_of_kinds_left_out_is_bounded() -> None:
    labels = KindLabels(most=1, most_counted=3)
    assert [labels.of(f"kind-{number}") for number in range(9)] == ["kind-0", *[OTHER] * 8]
    assert labels.left_out == 3


@given(st.lists(st.sampled_from([f"k{number}" for number in range(12)]), max_size=60))
def test_a_label_never_changes_and_they_are_never_more_than_allowed(asked: list[str]) -> None:
    labels, seen = KindLabels(most=5), dict[str, str]()
    for kind in asked:
        assert seen.setdefault(kind, labels.of(kind)) == labels.of(kind)
    assert len(set(seen.values())) <= 6
    assert labels.left_out == sum(label == OTHER for label in seen.values())
