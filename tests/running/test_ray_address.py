"""Addresses of Ray clusters: what is wrong with one is said at once."""

from __future__ import annotations

import socket

import pytest

from lnlbench.errors import UsageError
from lnlbench.running.ray_session import check_address


@pytest.mark.parametrize(
    "address", ["", "nonsense", ":6379", "host:", "host:ssh", "host:99999", "ray://host:10001"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a Ray cluster"):
        check_address(address)


def test_an_address_where_nobody_listens_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"No Ray cluster answers at {address}"):
            check_address(address)


def test_an_address_where_somebody_listens_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_address(f"127.0.0.1:{server.getsockname()[1]}")
    check_address("auto")
