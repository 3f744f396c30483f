# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role notes and merges. The snapshots themselves are lines of a file: real ones are taken by the integration tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

ROLE = Path(__file__).parents[3] / "roles" / "quiesced_snapshot"
#: The module's options and results, as far as the role knows them.
MODULE = """#!/usr/bin/python
import json, os
from ansible.module_utils.basic import AnsibleModule

plain = dict.fromkeys(("name", "uri", "state", "quiesce"), {"type": "str"})
module = AnsibleModule({**plain, "domains": {"type": "list"}, "max_seconds": {"type": "int"}}, supports_check_mode=True)
path = os.environ["NOTED_SNAPSHOTS"]
with open(path) as file:
    known = json.load(file)
one = [module.params["uri"] or "", module.params["name"], sorted(module.params["domains"])]
wanted = module.params["state"] != "absent"
changed = (one in known) != wanted
if changed and not module.check_mode:
    with open(path, "w") as file:
        json.dump([*known, one] if wanted else [other for other in known if other != one], file)
module.exit_json(changed=changed, domains=[{"domain": name, "quiesced": True, "disks": []} for name in module.params["domains"]])
"""


Entry = dict[str, t.Any]


def _entry(name: str, **others: t.Any) -> Entry:
    return {"name": name, "prefix": "scheduled", "group": ["db"], "domains": [{"domain": "db", "disks": []}], **others}


class Place:
    """``noted`` is what the manifest has, ``there`` the URI and the name of each snapshot."""

    def __init__(self, place: Path, noted: list[Entry], there: list[tuple[str, str]]) -> None:
        self._manifest = place / "manifest.json"
        self._snapshots = place / "snapshots.json"
        self._play = place / "play.yml"
        role = place / "roles" / "quiesced_snapshot"
        shutil.copytree(ROLE, role)
        for path in (role / "tasks").glob("*.yml"):
            text = path.read_text(encoding="utf-8").replace("virtops.guest_agent.snapshot:", "noted_snapshot:")
            path.write_text(text, encoding="utf-8")
        (place / "library").mkdir()
        (place / "library" / "noted_snapshot.py").write_text(MODULE, encoding="utf-8")
        self._manifest.write_text(json.dumps(noted), encoding="utf-8")
        self._snapshots.write_text(json.dumps([[uri, name, ["db"]] for uri, name in there]), encoding="utf-8")

    def run(self, **options: t.Any) -> None:
        options = {"domains": ["db"], "manifest": str(self._manifest), **options}
        role = {"role": "quiesced_snapshot", **{f"quiesced_snapshot_{name}": value for name, value in options.items()}}
        self._play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "roles": [role]}]), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(self._play), "-i", "localhost,", "-c", "local"]
        extra = ["-e", f"ansible_python_interpreter={sys.executable}"]
        env = {**os.environ, "NOTED_SNAPSHOTS": str(self._snapshots)}
        done = subprocess.run([*command, *extra], capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def there(self) -> list[tuple[str, str]]:
        return [(uri, name) for uri, name, _domains in json.loads(self._snapshots.read_text(encoding="utf-8"))]

    def noted(self) -> list[Entry]:
        return t.cast("list[Entry]", json.loads(self._manifest.read_text(encoding="utf-8")))


def test_a_name_that_is_taken_anew_is_not_what_is_too_old(tmp_path: Path) -> None:
    """The snapshot was removed by other means than the role."""
    place = Place(tmp_path, noted=[_entry("nightly", uri="")], there=[])
    place.run(name="nightly", keep=1)
    assert place.there() == [("", "nightly")]
    assert [entry["name"] for entry in place.noted()] == ["nightly"]


def test_each_hypervisor_has_a_retention_of_its_own(tmp_path: Path) -> None:
    """Their domains may have the same names, and where the role runs there may be one manifest. An old one has no URIs."""
    others = [_entry("a-1", uri="kvm2"), _entry("a-2", uri="kvm2")]
    place = Place(tmp_path, noted=[_entry("a-1"), *others], there=[("kvm1", "a-1"), ("kvm2", "a-1"), ("kvm2", "a-2")])
    place.run(name="a-2", keep=1, uri="kvm1")
    assert place.there() == [("kvm2", "a-1"), ("kvm2", "a-2"), ("kvm1", "a-2")]
    assert [(entry.get("uri"), entry["name"]) for entry in place.noted()] == place.there()
    assert place.noted()[:2] == others
