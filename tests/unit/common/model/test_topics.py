"""Topics: each property of a job's origin makes one, and none crosses tenants."""

import pytest

from acked_common.model.topics import ALL, GONE, IDS, NAMED, Origin, Topic, topics_of
from support.fields import changed, fields_of, filled, variants

ONE = filled(Origin)


@pytest.mark.parametrize("name", fields_of(Origin))
def test_each_property_of_an_origin_makes_a_topic(name: str) -> None:
    assert set(topics_of(dict(variants(ONE))[name])) != set(topics_of(ONE))


def test_a_job_belongs_to_one_topic_of_each_name() -> None:
    assert sorted(topic.name for topic in topics_of(ONE)) == sorted((ALL, *NAMED))


def test_no_topic_holds_jobs_of_two_tenants() -> None:
    assert not set(topics_of(ONE)) & set(topics_of(changed(ONE, tenant="other")))


def test_a_job_without_a_property_is_in_no_topic_of_it() -> None:
    assert topics_of(Origin("acme", None, None)) == [Topic("acme", ALL)]


def test_a_job_that_no_longer_exists_belongs_to_no_topic() -> None:
    assert topics_of(GONE) == topics_of(changed(ONE, tenant=None)) == []


def test_names_of_topics_are_distinct() -> None:
    assert len({ALL, IDS, *NAMED}) == 2 + len(NAMED)
