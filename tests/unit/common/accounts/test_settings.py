"""Whom the servers run as in containers."""

import pytest

from acked_common.accounts.settings import read_settings
from acked_common.runtime.env import Env, SettingsError


@pytest.mark.parametrize(("text", "ids"), [("", (999, 999)), ("0:0", (0, 0)), ("1000:4294967294", (1000, 2**32 - 2))])
def test_user_and_group_are_numbers(text: str, ids: tuple[int, int]) -> None:
    assert read_settings(Env({"ACKED_MONGO_USER": text})).mongo_user == ids


@pytest.mark.parametrize("text", ["mongodb", "999", "999:", "-1:1", "1:²", "1:4294967295", "1:" + "9" * 5000])
def test_other_users_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="must be two integers, user:group"):
        read_settings(Env({"ACKED_RABBITMQ_USER": text}))
