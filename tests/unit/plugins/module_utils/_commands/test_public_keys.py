# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys as ssh-keygen makes them, and what only looks like one."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from hypothesis import given, strategies as st

from ansible_collections.virtops.guest_agent.plugins.module_utils._commands import public_keys
from ansible_collections.virtops.guest_agent.plugins.modules import authorized_keys

#: made by ssh-keygen: its arguments for the kind, and what it says of the strength
MADE = [
    (["ed25519"], 256),
    (["ecdsa", "-b", "256"], 256),
    (["ecdsa", "-b", "384"], 384),
    (["ecdsa", "-b", "521"], 521),
    (["rsa"], 3072),
]


def packed(*fields: bytes) -> str:
    return base64.b64encode(b"".join(len(field).to_bytes(4, "big") + field for field in fields)).decode()


def ed25519(number: int = 1, comment: str = "somebody") -> str:
    return f"ssh-ed25519 {packed(b'ssh-ed25519', bytes([number]) * 32)} {comment}".rstrip()


@pytest.mark.parametrize(("kind", "bits"), MADE)
def test_as_ssh_keygen_sees_it(kind: list[str], bits: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-N", "", "-C", "a comment", "-f", str(path)], check=True)
    text = path.with_suffix(".pub").read_text()
    line = public_keys.parse_line(text)
    told = subprocess.run(["ssh-keygen", "-l", "-f", str(path)], capture_output=True, text=True, check=True).stdout
    assert told.split()[:2] == [str(bits), line.key.fingerprint]
    assert (line.key.bits, line.comment, line.options) == (bits, "a comment", "")
    assert f"{line.key.kind} {line.key.base64} a comment\n" == text
    for cut in range(1, 20):
        with pytest.raises(ValueError, match="its key"):
            public_keys.parse_key(line.key.kind, base64.b64encode(line.key.blob[:-cut]).decode())


HARDWARE = {
    "sk-ssh-ed25519@openssh.com": (b"x" * 32, b"ssh:"),
    "sk-ecdsa-sha2-nistp256@openssh.com": (b"nistp256", b"\4" + b"x" * 64, b"ssh:"),
}


@pytest.mark.parametrize("kind", HARDWARE)
def test_keys_in_hardware(kind: str) -> None:
    key = public_keys.parse_line(f"{kind} {packed(kind.encode(), *HARDWARE[kind])}").key
    assert (key.kind, key.bits) == (kind, 256)


KEY = ed25519(1, "")
OPTIONS = [
    "restrict",
    "no-pty,no-X11-forwarding",
    'command="echo \\"a b\\" # c"',
    'from="10.0.0.0/8,*.example.com",environment="A=b c"',
    'command="printf a\\nb"',
    'expiry-time="20300101"',
    "cert-authority",
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options(options: str) -> None:
    line = public_keys.parse_line(f"  {options} \t{KEY}  \t a  b ")
    assert (line.options, line.comment, line.key) == (options, "a  b", public_keys.parse_line(KEY).key)


RSA = b"ssh-rsa"
WRONG = [
    "",
    "x",
    "ssh-ed25519",
    KEY.replace("ssh-ed25519", "ssh-rsa"),
    KEY.replace("ssh-ed25519", "ssh-foo"),
    KEY.replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"),
    KEY[:-4],
    KEY + "AAAA",
    KEY.replace("A", "*", 1),
    f"{KEY[:20]}*{KEY[20:]}",
    f"ssh-ed25519 {packed(b'ssh-ed25518', b'x' * 32)}",
    f"restrict, {KEY}",
    f",restrict {KEY}",
    f'command="x {KEY}',
    f"command=x {KEY}",
    f'command="a\\" {KEY}',
    f'command="a"b {KEY}',
    f"re strict {KEY}",
    f"ssh-ed25519 {packed(b'ssh-ed25519', b'x' * 33)}",
    f"ssh-ed25519 {packed(b'ssh-ed25519', b'x' * 32, b'')}",
    f"ssh-ed25519 {packed(b'ssh-ed25519')}",
    f"ssh-rsa {packed(RSA, b'e', b'')}",
    f"ssh-rsa {packed(RSA, b'', b'x' * 256)}",
    f"ssh-rsa {packed(RSA, b'e', b'x' * 127)}",
    f"ssh-rsa {packed(RSA, b'e', b'x' * 2050)}",
    f"ssh-rsa {packed(RSA, b'e', bytes([200]) * 256)}",
    f"ssh-rsa {packed(RSA, b'e' * 65, b'x' * 256)}",
    f"ecdsa-sha2-nistp256 {packed(b'ecdsa-sha2-nistp256', b'nistp384', bytes([4]) + b'x' * 64)}",
    f"ecdsa-sha2-nistp256 {packed(b'ecdsa-sha2-nistp256', b'nistp256', bytes([3]) + b'x' * 64)}",
    f"ecdsa-sha2-nistp256 {packed(b'ecdsa-sha2-nistp256')}",
    f"ecdsa-sha2-nistp256 {packed(b'ecdsa-sha2-nistp256', b'nistp256', bytes([4]) + b'x' * 65)}",
    f"ssh-rsa {packed(RSA, bytes([200]), b'x' * 256)}",
    f"sk-ssh-ed25519@openssh.com {packed(b'sk-ssh-ed25519@openssh.com')}",
    f"sk-ssh-ed25519@openssh.com {packed(b'sk-ssh-ed25519@openssh.com', b'x' * 32)}",
    "ssh-ed25519 " + base64.b64encode(b"\xff\xff\xff\xff").decode(),
    "ssh-ed25519 \u00e4\u00e4\u00e4\u00e4",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"it has|it begins|its key"):
        public_keys.parse_line(text)


@pytest.mark.parametrize("text", ["restrict ssh-ed25519", f"restrict {KEY.replace('ssh-ed25519', 'ssh-foo')}", f"re strict {KEY}"])
def test_what_stands_after_options_is_no_key_of_a_known_type(text: str) -> None:
    with pytest.raises(ValueError, match=r"no type of key that is known \(ssh-ed25519,"):
        public_keys.parse_line(text)


@pytest.mark.parametrize("text", ["a\nb", "a\x00b", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u202eb", "a\ud800b", "x" * 16385])
def test_what_is_no_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"it has|it is longer"):
        public_keys.check_text(text)


def test_what_is_a_line() -> None:
    public_keys.check_text("caf\u00e9\t\u65e5\u672c")


@given(st.text(), st.binary(max_size=200))
def test_any_text_is_a_key_or_a_value_error(text: str, blob: bytes) -> None:
    for line in (text, f"{text} {KEY}", *(f"{kind} {base64.b64encode(blob).decode()}" for kind in public_keys.KINDS)):
        try:
            assert public_keys.parse_line(line).key.kind in public_keys.KINDS
        except ValueError:
            continue


@given(st.sampled_from(public_keys.KINDS), st.lists(st.binary(max_size=70), max_size=4))
def test_any_fields_are_a_key_or_a_value_error(kind: str, fields: t.Sequence[bytes]) -> None:
    with contextlib.suppress(ValueError):
        assert public_keys.parse_key(kind, packed(kind.encode(), *fields)).bits


def test_the_examples_are_keys() -> None:
    tasks = yaml.safe_load(authorized_keys.EXAMPLES)
    lines = [
        key for task in tasks for key in task["virtops.guest_agent.authorized_keys"]["keys"] if len(key) > 60 and "{{" not in key
    ]
    assert len(lines) == 3
    for line in lines:
        public_keys.parse_line(line)
