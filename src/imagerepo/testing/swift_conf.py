"""The configuration of an all-in-one OpenStack Swift, written into one folder."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

ACCOUNT_USER = "test:tester"
ACCOUNT_KEY = "testing"
POWERLESS_USER = "test:reader"
"""Signs in, and may do nothing in the account."""
POWERLESS_KEY = "reading"

# A file's attributes must fit one 4 KiB block on ext4, or every PUT fails with "no space left".
_CLUSTER = """\
[swift-hash]
swift_hash_path_prefix = testing
swift_hash_path_suffix = testing
[storage-policy:0]
name = only
default = yes
[swift-constraints]
max_meta_overall_size = 2048
"""

_SERVER = """\
[DEFAULT]
swift_dir = {folder}/etc
devices = {folder}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
bind_ip = 127.0.0.1
bind_port = {port}
log_level = WARNING
"""

_BACKEND = """\
[pipeline:main]
pipeline = healthcheck {kind}-server
[filter:healthcheck]
use = egg:swift#healthcheck
[app:{kind}-server]
use = egg:swift#{kind}
"""

# error_suppression_interval: by default the proxy shuns a server for a minute after a few errors, so that
# one that was killed and came back would not be seen. Fernet tokens need no memcached, and outlive the proxy.
_PROXY = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats tempurl tempauth copy container-quotas proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_interval = 0
conn_timeout = 0.5
node_timeout = {node_timeout}
[filter:tempauth]
use = egg:swift#tempauth
fernet_key_testing = {fernet_key}
active_fernet_key_id = testing
user_{user} = {key} .admin
user_{powerless_user} = {powerless_key}
"""

_PLAIN_FILTERS = (
    "catch_errors",
    "gatekeeper",
    "healthcheck",
    "listing_formats",
    "tempurl",
    "copy",
    "container-quotas",
)


def write_configuration(folder: Path, ports: Mapping[str, int], *, node_timeout: float) -> None:
    """Write `folder`/etc for the servers in `ports`: proxy, account, container, object1, object2…

    `node_timeout` in seconds: how long the proxy waits for one of the others.
    """
    etc = folder / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "swift.conf").write_text(_CLUSTER)
    for role, port in ports.items():
        kind = role.rstrip("0123456789")
        text = _proxy(node_timeout) if kind == "proxy" else _BACKEND.format(kind=kind)
        (etc / f"{role}.conf").write_text(_SERVER.format(folder=folder, port=port) + text)


def _proxy(node_timeout: float) -> str:
    text = _PROXY.format(
        node_timeout=node_timeout,
        fernet_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
        user=ACCOUNT_USER.replace(":", "_"),
        key=ACCOUNT_KEY,
        powerless_user=POWERLESS_USER.replace(":", "_"),
        powerless_key=POWERLESS_KEY,
    )
    filters = (f"[filter:{name}]\nuse = egg:swift#{name.replace('-', '_')}\n" for name in _PLAIN_FILTERS)
    return text + "".join(filters)
