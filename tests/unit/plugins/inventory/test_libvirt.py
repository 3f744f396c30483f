# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as ansible-core runs it: a real loader, real inventory data, real files; only the records are made up."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import context
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.inventory.manager import InventoryManager as CoreInventory
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import connection_loader, inventory_loader
from ansible.template import Templar
from ansible.utils.display import Display

from ansible_collections.virtops.guest_agent.plugins.module_utils import _errors
from ansible_collections.virtops.guest_agent.plugins.module_utils._libvirt import domain_xml
from ansible_collections.virtops.guest_agent.plugins.module_utils._records import gather
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.plan import Gathered, Plan
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.record import Record
from ansible_collections.virtops.guest_agent.plugins.plugin_utils._inventory.unsafe import untrusted
from ansible_collections.virtops.guest_agent.tests.unit import samples
from ansible_collections.virtops.guest_agent.tests.unit.samples import candidate

NAME = "virtops.guest_agent.libvirt"
PLUGIN = "ansible_collections.virtops.guest_agent.plugins.inventory.libvirt"
TEMPLATE = "{{ lookup('ansible.builtin.pipe', 'touch EVIL') }}"


class Shown:
    """Where a plugin shows what it has to say."""

    def __init__(self, warnings: list[str]) -> None:
        self.warning = warnings.append

    def __getattr__(self, name: str) -> t.Any:
        return getattr(Display(), name)


class World:
    """What there is to gather; ``asked`` has every plan that it was asked with."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.records: list[Record] = [samples.record("web", 1, "10.0.0.5", os={"id": "debian"}, hostname="inside")]
        self.failures: dict[str, _errors.GuestAgentError] = {}
        self.troubles: list[_errors.GuestAgentError] = []
        self.asked: list[tuple[list[str], Plan]] = []
        self.data = InventoryData()
        self.warnings: list[str] = []

    def gather(self, uris: t.Iterable[str], plan: Plan) -> Gathered:
        self.asked.append((list(uris), plan))
        return Gathered(json.loads(json.dumps(self.records)), self.failures, self.troubles)

    def parse(self, name: str = "x.libvirt.yml", use_cache: bool = True, **options: t.Any) -> InventoryData:
        path = self._directory / name
        path.write_text(yaml.safe_dump({"plugin": NAME, **options}), encoding="utf-8")
        plugin = inventory_loader.get(NAME)
        assert plugin.verify_file(str(path))
        plugin.display = Shown(self.warnings)
        plugin.parse(self.data, DataLoader(), str(path), use_cache)
        with contextlib.suppress(AttributeError):  # as ansible-core does it: there is no cache to update
            plugin.update_cache_if_changed()
        return self.data

    def again(self, **options: t.Any) -> InventoryData:
        self.data = InventoryData()
        return self.parse(**options)

    def cache(self) -> dict[str, t.Any]:
        return {
            "cache": True,
            "cache_plugin": "ansible.builtin.jsonfile",
            "cache_connection": str(self._directory / "cache"),
            "cache_timeout": 600,
        }


class InventoryManager(CoreInventory):  # type: ignore[misc]
    """Ansible's way from a pattern to hosts, over data that are there already."""

    def __init__(self, data: InventoryData) -> None:
        super().__init__(DataLoader(), sources=None, parse=False)
        self._inventory = data


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[World]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIBVIRT_DEFAULT_URI", raising=False)
    found = World(tmp_path)
    monkeypatch.setattr(gather, "gather", found.gather)
    yield found
    assert not (tmp_path / "EVIL").exists()


def _vars(data: InventoryData, name: str = "web") -> dict[str, t.Any]:
    host = data.get_host(name)
    assert host is not None
    return t.cast("dict[str, t.Any]", host.get_vars())


def test_its_names(world: World) -> None:
    assert [_vars(world.again(plugin=plugin))["guest_hostname"] for plugin in (NAME, "libvirt")] == ["inside"] * 2


def test_groups_by_metadata(world: World) -> None:
    """The example, over what ``virsh metadata`` makes of its command."""
    example = Path(__file__).parents[4] / "examples" / "metadata.libvirt.yml"
    given = yaml.safe_load(example.read_text(encoding="utf-8"))
    metadata = domain_xml.parse(
        "<domain><metadata><site:info xmlns:site='https://example.com/site' role='web' stage='test'/></metadata></domain>"
    ).metadata
    world.records = [samples.record("web", 1, libvirt={"metadata": metadata}), samples.record("other", 2)]
    data = world.parse(**{name: value for name, value in given.items() if name != "plugin"})
    groups = {name: {host.name for host in group.hosts} for name, group in data.groups.items()}
    assert groups["role_web"] == groups["stage_test"] == {"web"}


def _groups(data: InventoryData, name: str = "web") -> set[str]:
    return {group.name for group in data.get_host(name).get_groups()} - {"all", "ungrouped"}


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        *[(f"x.{stem}.{ending}", True) for stem in ("libvirt", "guest_agent") for ending in ("yml", "yaml")],
        *[(name, False) for name in ("libvirt.txt", "x.yml", "libvirt.yml.bak", "hosts")],
    ],
)
def test_the_files_it_takes(name: str, fits: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(f"plugin: {NAME}\n", encoding="utf-8")
    assert inventory_loader.get(NAME).verify_file(str(path)) is fits


def test_a_host_with_its_variables_and_groups(world: World) -> None:
    data = world.parse()
    found = _vars(data)
    assert found["ansible_host"] == "10.0.0.5"
    assert found["ansible_guest_agent_uri"] == samples.URI
    assert found["ansible_guest_agent_domain"] == samples.uuid(1)
    assert "ansible_connection" not in found
    assert (found["libvirt_name"], found["guest_os"]["id"], found["guest_addresses"]) == ("web", "debian", ["10.0.0.5"])
    assert _groups(data) == {"hypervisor_kvm1", "state_running", "os_debian", "agent_connected"}
    uris, plan = world.asked[0]
    assert uris == [""]
    assert plan == Plan(select=plan.select, ssh_persist=60)


@pytest.mark.parametrize(
    ("options", "uris"),
    [({"uri": "qemu:///system"}, ["qemu:///system"]), ({"uri": ["test:///a", "test:///b"]}, ["test:///a", "test:///b"])],
)
def test_whom_it_asks(world: World, options: dict, uris: list) -> None:
    world.parse(**options)
    assert world.asked[0][0] == uris


def test_the_environment_says_whom(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///env")
    world.parse()
    assert world.asked[0][0] == ["test:///env"]


def test_what_the_user_composes(world: World) -> None:
    data = world.parse(
        compose={"ansible_user": "'admin' if guest_os.id == 'debian' else 'root'"},
        groups={"small": "libvirt_memory_mib < 1024", "big": "libvirt_memory_mib >= 1024"},
        keyed_groups=[{"key": "guest_os.id", "prefix": "distro"}, {"key": "libvirt_name", "prefix": ""}],
        group_by=[],
    )
    assert _vars(data)["ansible_user"] == "admin"
    assert _groups(data) == {"small", "distro_debian", "_web"}


def test_prefix_and_suffix(world: World) -> None:
    found = _vars(world.parse(hostvars_prefix="x_", hostvars_suffix="_y"))
    assert found["x_libvirt_name_y"] == "web"
    assert "ansible_host" in found


CONNECTIONS = [
    # connection, an address, whether the agent may execute; ansible_host, ansible_connection
    ("auto", True, True, "10.0.0.5", None),
    ("auto", False, True, None, "virtops.guest_agent.agent"),
    ("auto", False, False, None, None),
    ("agent", True, False, "10.0.0.5", "virtops.guest_agent.agent"),
    ("ssh", True, True, "10.0.0.5", "ssh"),
    ("none", True, True, None, None),
]


@pytest.mark.parametrize(("connection", "address", "can_exec", "host", "plugin"), CONNECTIONS)
def test_connections(world: World, connection: str, address: bool, can_exec: bool, host: t.Any, plugin: t.Any) -> None:
    world.records = [samples.record("web", 1, *(["10.0.0.5"] if address else []), agent={"can_exec": can_exec})]
    found = _vars(world.parse(connection=connection))
    assert (found.get("ansible_host"), found.get("ansible_connection")) == (host, plugin)
    assert ("ansible_guest_agent_domain" in found) is (connection != "none")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[], set[str]]:
    """What an inventory has loaded for the tasks: they are forks of the process that reads it."""
    warm = f"{gather.__name__.rpartition('._records')[0]}._reach.warm"
    names: set[str] = set()
    monkeypatch.delitem(sys.modules, warm, raising=False)
    monkeypatch.setattr(connection_loader, "get", lambda name, class_only: names.add(name))
    return lambda: names | ({"warm"} if warm in sys.modules else set())


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("agent", {"virtops.guest_agent.agent", "warm"}),
        ("ssh_or_agent", {"virtops.guest_agent.ssh_or_agent", "warm"}),
        ("ssh", set()),
    ],
)
def test_what_every_task_needs_is_loaded_once(
    world: World, loaded: t.Callable[[], set[str]], connection: str, expected: set[str]
) -> None:
    world.records = [samples.record("web", 1, "10.0.0.5")]
    world.parse(connection=connection)
    assert loaded() == expected


def test_nothing_is_loaded_for_tasks_by_what_runs_none(
    world: World, loaded: t.Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--graph is an option of ansible-inventory."""
    monkeypatch.setattr(context, "CLIARGS", {"graph": False})
    world.parse(connection="agent")
    assert loaded() == set()


def test_domains_of_one_name_in_two_sources_are_two_hosts(world: World) -> None:
    world.records = [samples.record("web", 1)]
    world.parse("one.libvirt.yml")
    world.records = [samples.record("web", 2)]
    second = world.parse("two.libvirt.yml")
    assert {second.hosts[name].get_vars()["libvirt_uuid"] for name in second.hosts} == {samples.uuid(1), samples.uuid(2)}


@pytest.mark.parametrize("second", [{}, {"hostnames": ["guest_hostname"], "hostvars_prefix": "x_"}, {"hostnames": ["name"]}])
@pytest.mark.parametrize("uri", [samples.URI, "test:///the-same-by-another-name"])
def test_one_domain_in_two_sources_is_one_host(world: World, second: dict, uri: str) -> None:
    world.parse("one.libvirt.yml", hostnames=["guest_hostname"])
    world.records[0]["libvirt"]["uri"] = uri
    data = world.parse("two.libvirt.yml", **second)
    assert set(data.hosts) == {"inside"}
    assert world.warnings == []


def test_who_was_renamed_in_one_source_keeps_that_name_in_the_next(world: World) -> None:
    world.records = [samples.record(f"d{number}", number, hostname="same") for number in (1, 2)]
    world.parse("one.libvirt.yml", hostnames=["guest_hostname"])
    world.records = [*world.records[:1], samples.record("same-00000002", 3)]
    data = world.parse("two.libvirt.yml", hostnames=["guest_hostname"])
    names = {data.hosts[name].get_vars()["libvirt_name"]: name for name in data.hosts}
    assert names == {"d1": "same-00000001", "d2": "same-00000002", "same-00000002": "same-00000002-00000003"}


def test_the_same_uuid_on_another_hypervisor_is_another_domain(world: World) -> None:
    world.parse("one.libvirt.yml")
    world.records = [samples.record("web", 1, libvirt={"uri": "test:///b", "hypervisor": "kvm2"})]
    assert len(world.parse("two.libvirt.yml").hosts) == 2


ODD_NAMES = [("my guest", "my_guest"), ("localhost", "localhost-00000001"), ("-x:y,[z", "_x_y_z")]


@pytest.mark.parametrize(("name", "host"), ODD_NAMES)
def test_a_domain_whose_name_is_none_for_a_host(world: World, name: str, host: str) -> None:
    world.records = [samples.record(name, 1, "10.0.0.5"), samples.record("db", 2)]
    data = world.parse()
    assert set(data.hosts) == {host, "db"}
    assert (_vars(data, host)["libvirt_name"], _vars(data, host)["ansible_host"]) == (name, "10.0.0.5")
    (warning,) = world.warnings
    assert host in warning
    assert [str(found) for found in InventoryManager(data).get_hosts(host)] == [host]


def test_a_domain_of_which_libvirt_tells_nothing_is_said_and_not_cached(world: World) -> None:
    options = world.cache()
    record = world.records[0]
    world.records = [samples.record("web", 1, libvirt={"vcpus": None, "memory_mib": None}, agent={"status": "unknown"})]
    world.troubles = [_errors.DomainBusy("libvirt is busy with another operation", domain="web")]
    include = {"include": ["starts_with(libvirt.title, 'x')"]}
    assert _vars(world.parse(**options, **include))["guest_agent"]["status"] == "unknown"
    assert world.warnings == [f"{NAME}: Domain web: libvirt is busy with another operation."]
    world.records, world.troubles = [record], []
    assert _vars(world.again(**options))["guest_hostname"] == "inside"


@pytest.mark.parametrize("odd", [[{"libvirt": {}}], {"version": "0", "records": {"x": {}}}, "x", None])
@pytest.mark.parametrize("stale", [False, True])
def test_a_cache_of_another_version_is_not_read(world: World, odd: t.Any, stale: bool) -> None:
    options = {**world.cache(), "stale": stale}
    world.parse(**options)
    for path in Path(options["cache_connection"]).iterdir():
        wrapped = "__payload__" in json.loads(path.read_text())  # since ansible-core 2.19
        path.write_text(json.dumps({"__payload__": json.dumps(odd)} if wrapped else odd), encoding="utf-8")
    assert _vars(world.again(**options))["guest_hostname"] == "inside"
    assert len(world.asked) == 2
    assert _vars(world.again(**options))["guest_hostname"] == "inside"
    assert len(world.asked) == 2


def test_a_forwarded_port_of_the_hypervisor(world: World) -> None:
    nic: t.Any = {"name": "user", "mac": "52:54:00:00:00:01", "user_mode": True, "ip_addresses": ["192.0.2.10/24"]}
    nic["port_forwards"] = [{"address": None, "port": 2022, "to": 22, "ports": 1}]
    uri = {"uri": "qemu+ssh://root@kvm1/system"}
    claim = candidate("192.0.2.10", "agent_unverified", "user")
    world.records = [samples.record("web", 1, claim, libvirt=uri, interfaces=[nic], agent={"can_exec": True})]
    found = _vars(world.parse())
    assert (found["ansible_host"], found["ansible_port"], found["guest_addresses"]) == ("kvm1", 2022, [])
    assert "ansible_connection" not in found
    for other in ({"address_sources": ["agent"]}, {"address_cidrs": ["10.0.0.0/8"]}, {"address_networks": ["default"]}):
        found = _vars(world.again(**other))
        assert found["ansible_connection"] == "virtops.guest_agent.agent"
        assert "ansible_host" not in found
    assert world.warnings == []


def test_an_old_claim_takes_no_live_guests_address(world: World) -> None:
    options = {**world.cache(), "cache": False, "stale": True}
    world.parse(**options)
    world.records = [samples.record("web", 1, agent={"status": "unresponsive"}), samples.record("db", 2, "10.0.0.5")]
    data = world.again(**options)
    assert _vars(data, "db")["ansible_host"] == "10.0.0.5"
    assert "ansible_host" not in _vars(data)


def test_two_hypervisors_with_one_nat_network_are_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [candidate("10.0.0.5"), candidate("10.0.0.5", "lease")]
    there = {"uri": "qemu+ssh://kvm2/system", "hypervisor": "kvm2"}
    here = {"uri": "qemu:///system", "hypervisor": "kvm1.example.com"}
    world.records = [samples.record("a", 1, *both, libvirt=here), samples.record("b", 2, *both, libvirt=there)]
    data = world.parse()
    assert all("ansible_host" not in _vars(data, name) for name in ("a", "b"))
    (warning,) = world.warnings
    assert "10.0.0.5 (a on kvm1.example.com, b on kvm2)" in warning
    monkeypatch.setattr(socket, "gethostname", lambda: "KVM1")
    data = world.again()
    assert [_vars(data, name).get("ansible_host") for name in ("a", "b")] == ["10.0.0.5", None]
    assert "10.0.0.5 (b on kvm2, and its owner)" in world.warnings[1]
    world.again(connection="agent")
    assert len(world.warnings) == 2


def _on(name: str, *addresses: str, **values: t.Any) -> t.Any:
    return {"interface_name": name, "ip_addresses": [f"{address}/24" for address in addresses], "user_mode": False, **values}


def test_a_bridge_in_the_guest_is_said(world: World) -> None:
    """Its MAC is its own, so the domain's NIC has no address."""
    unverified = candidate("10.0.0.5", "agent_unverified", None)
    interfaces = [_on("eth0"), _on("br0", "10.0.0.5")]
    world.records = [
        samples.record("web", 1, unverified, interfaces=interfaces),
        samples.record("db", 2, "10.0.0.6", candidate("10.0.0.7", "agent_unverified", None)),
    ]
    assert "ansible_host" not in _vars(world.parse())
    (warning,) = world.warnings
    assert "web (br0 has 10.0.0.5)" in warning
    assert "agent_unverified" in warning
    world.again(connection="none")
    world.again(address_exclude_cidrs=["10.0.0.5/32"])
    assert _vars(world.again(address_sources=["agent", "agent_unverified"]))["ansible_host"] == "10.0.0.5"
    assert len(world.warnings) == 1


@pytest.mark.parametrize(("can_exec", "connection", "said"), [(True, "auto", False), (False, "auto", True), (True, "ssh", True)])
def test_user_mode_networking_is_said_where_there_is_no_other_way(
    world: World, can_exec: bool, connection: str, said: bool
) -> None:
    claim = candidate("10.0.2.15", "agent_unverified", "user")
    nic = _on("eth0", "10.0.2.15", user_mode=True)
    world.records = [samples.record("web", 1, claim, interfaces=[nic], agent={"can_exec": can_exec})]
    assert "ansible_host" not in _vars(world.parse(connection=connection))
    assert bool(world.warnings) is said
    assert all("user-mode networking: web" in warning for warning in world.warnings)


def test_a_guest_that_is_left_out_keeps_its_address(world: World) -> None:
    world.records = [samples.record("victim", 1, "10.0.0.5"), samples.record("thief", 2, "10.0.0.5")]
    assert "ansible_host" not in world.parse(exclude=["libvirt.name=='victim'"]).hosts["thief"].get_vars()


SELECTIONS = [
    ({}, {"web", "db"}),
    ({"include": ["libvirt.name=='web'"]}, {"web"}),
    ({"include": ["hostname=='inside'"]}, {"web"}),
    ({"exclude": ["starts_with(hostname, 'in')"]}, {"db"}),
    ({"include": ["`true`"], "exclude": ["libvirt.name=='db'"]}, {"web"}),
]


@pytest.mark.parametrize(("options", "hosts"), SELECTIONS)
def test_selection(world: World, options: dict, hosts: set) -> None:
    world.records.append(samples.record("db", 2))
    assert (set(world.parse(**options).hosts), len(world.warnings)) == (hosts, "starts_with" in str(options))
    early = {"libvirt": samples.libvirt_part("web")}
    assert world.asked[0][1].select(t.cast(Record, early)) is ("libvirt" not in str(options.get("exclude")) or "web" in hosts)


ERRORS = [
    ({"include": ["a b"]}, "include"),
    ({"include": ["abs(hostname)"], "strict": True}, "cannot be applied"),
    ({"agent_timeout": 0}, "agent_timeout must be from 1 to"),
    ({"ssh_persist": -1}, "ssh_persist must be from 0 to"),
    ({"address_cidrs": ["x"]}, "address_cidrs"),
    ({"probes": {"x": []}}, "probes: x"),
    ({"hostnames": ["1 / 0"], "strict": True}, "hostnames"),
    ({"compose": {"a": "nonsense"}, "strict": True}, "nonsense"),
]


@pytest.mark.parametrize(("options", "words"), ERRORS)
def test_errors_of_the_user(world: World, options: dict, words: str) -> None:
    with pytest.raises(Exception, match=words) as caught:
        world.parse(**options)
    assert "Traceback" not in str(caught.value)


def test_a_hypervisor_that_is_down(world: World) -> None:
    world.failures = {"test:///b": _errors.HypervisorUnreachable("test:///b: refused")}
    with pytest.raises(AnsibleParserError, match="refused"):
        world.parse()
    assert set(world.again(on_unreachable="warn").hosts) == {"web"}
    assert "refused" in world.warnings[-1]


HOSTNAMES = [
    (["name"], ["web", "db"]),
    (["guest_hostname", "name"], ["inside", "db"]),
    (["uuid"], [samples.uuid(1), samples.uuid(2)]),
    (["libvirt_name ~ '.' ~ libvirt_hypervisor"], ["web.kvm1", "db.kvm1"]),
    (["guest_hostname ~ '.lan'"], ["inside.lan", "db"]),
    (["1 / 0"], ["web", "db"]),
    (["'localhost'"], ["web", "db"]),
]


@pytest.mark.parametrize(("hostnames", "names"), HOSTNAMES)
def test_host_names(world: World, hostnames: list, names: list) -> None:
    world.records.append(samples.record("db", 2))
    assert list(world.parse(hostnames=hostnames).hosts) == names
    assert world.warnings == []


def test_no_guest_takes_anothers_name(world: World) -> None:
    world.records = [
        samples.record("web", 1),
        samples.record("evil", 2, hostname="web"),
        samples.record("evil2", 3, hostname="router"),
    ]
    world.records.append(samples.record("evil4", 4, hostname=samples.uuid(1)))
    world.data.add_host("router")
    data = world.parse(hostnames=["guest_hostname", "name"])
    own = {name: name for name in ("web", "evil", "evil2", "evil4")}
    assert {name: _vars(data, name).get("libvirt_name") for name in data.hosts} == {"router": None, **own}
    assert world.warnings == []


def test_guests_that_call_themselves_alike_are_all_renamed(world: World) -> None:
    world.records = [samples.record(f"d{number}", number, hostname="same") for number in (1, 2)]
    assert set(world.parse(hostnames=["guest_hostname"]).hosts) == {"same-00000001", "same-00000002"}
    assert len(world.warnings) == 2


def test_no_guest_names_itself_like_a_group(world: World) -> None:
    world.data.add_group("webservers")
    world.records = [samples.record("x", 1, hostname="webservers")]
    assert "x" in world.parse(hostnames=["guest_hostname"]).hosts


@pytest.mark.parametrize("hostname", ["state_running", "agent_connected", "hypervisor_kvm1", "users_own"])
def test_no_guest_names_itself_like_a_group_of_this_run(world: World, hostname: str) -> None:
    world.records = [samples.record("x", 1, hostname=hostname), samples.record("y", 2)]
    data = world.parse(hostnames=["guest_hostname", "name"], groups={"users_own": "true"})
    assert set(data.hosts) == {"x", "y"}
    assert hostname in _groups(data, "y")
    assert not set(data.hosts) & set(data.groups)


@pytest.mark.parametrize("name", ["state_running", "users_own"])
def test_a_domain_that_is_called_like_a_group_is_renamed(world: World, name: str) -> None:
    world.records = [samples.record(name, 1), samples.record("y", 2)]
    data = world.parse(groups={"users_own": "true"})
    assert set(data.hosts) == {f"{name}-00000001", "y"}
    assert name in _groups(data, f"{name}-00000001") & _groups(data, "y")
    assert f"A host or a group has the name {name}" in world.warnings[0]


def test_two_domains_of_one_name_stay_two(world: World) -> None:
    world.records = [samples.record("web", number, libvirt={"uri": f"test:///{number}"}) for number in (1, 2)]
    assert set(world.parse().hosts) == {"web-00000001", "web-00000002"}


def test_no_guest_takes_anothers_address(world: World) -> None:
    world.records = [
        samples.record("web", 1, "10.0.0.5", candidate("10.0.0.5", "lease")),
        samples.record("evil", 2, "10.0.0.5", "10.0.0.66"),
        samples.record("evil2", 3, candidate("10.0.0.9", "agent_unverified")),
    ]
    data = world.parse()
    assert [_vars(data, name).get("ansible_host") for name in ("web", "evil", "evil2")] == ["10.0.0.5", "10.0.0.66", None]


def test_the_cache_saves_asking_and_not_grouping(world: World) -> None:
    options = world.cache()
    assert _groups(world.parse(group_by=["os"], **options)) == {"os_debian"}
    world.records[0]["os"]["id"] = "ubuntu"
    again = world.again(group_by=["state"], compose={"late": "libvirt_name"}, **options)
    assert len(world.asked) == 1
    assert _groups(again) == {"state_running"}
    assert _vars(again)["late"] == "web"
    assert _vars(again)["guest_os"]["id"] == "debian"
    world.data = InventoryData()
    world.parse(use_cache=False, **options)
    assert len(world.asked) == 2


def test_other_options_are_another_cache(world: World) -> None:
    options = world.cache()
    world.parse(**options)
    for other in ({"states": ["all"]}, {"gather_subset": []}, {"uri": "test:///x"}, {"max_items": 3}, {"exclude": ["os.id=='x'"]}):
        before = len(world.asked)
        world.again(**options, **other)
        assert len(world.asked) == before + 1
    before = len(world.asked)
    world.again(**options, connection="ssh", group_by=["state"])
    assert len(world.asked) == before


def test_a_failure_is_not_cached(world: World) -> None:
    options = {**world.cache(), "on_unreachable": "warn"}
    world.failures = {"test:///b": _errors.HypervisorUnreachable("refused")}
    world.parse(**options)
    world.failures = {}
    world.again(**options)
    assert len(world.asked) == 2


def test_what_was_not_asked_is_not_cached(world: World) -> None:
    options = world.cache()
    world.records.append(samples.record("late", 2, agent={"status": "unknown"}))
    world.parse(**options)
    world.records[1] = samples.record("late", 2, hostname="answers")
    assert _vars(world.again(**options), "late")["guest_hostname"] == "answers"
    world.again(**options)
    assert len(world.asked) == 2


def test_old_answers_of_silent_guests(world: World) -> None:
    options = {**world.cache(), "cache": False, "stale": True}
    since = _vars(world.parse(**options))["guest_agent"]["status_since"]
    world.records = [
        samples.record("web", 1, agent={"status": "unresponsive"}),
        samples.record("db", 2, agent={"status": "unknown"}),
    ]
    data = world.again(**options)
    found = _vars(data)
    assert found["guest_agent"]["status_since"] >= since > "2026-01-01T00:00:00Z"
    assert (found["guest_agent"]["stale"], found["guest_agent"]["status"]) == (True, "unresponsive")
    assert (found["guest_hostname"], found["ansible_host"]) == ("inside", "10.0.0.5")
    assert not _vars(data, "db")["guest_agent"]["stale"]
    world.again(**{**options, "stale": False})
    assert "guest_hostname" not in _vars(world.data)


UNSAFE = [TEMPLATE, "{% if 1 %}x{% endif %}", "{# x #}", "}}", "#jinja2:variable_start_string:'[%'\n[% 1 %]", "#JINJA2: x"]
UNSAFE += [TEMPLATE[3:-3], "'a' | upper", "9**9**9", "'/etc/shadow' is file"]  # nothing to a template, something to a conditional


@pytest.mark.parametrize("text", UNSAFE)
def test_what_a_guest_says_is_never_a_template(world: World, text: str) -> None:
    world.records = [samples.record("web", 1, hostname=text, os={"id": text, "name": "plain"}, libvirt={"title": text})]
    data = world.parse(
        hostnames=["guest_hostname", "title"],
        compose={"copy": "guest_hostname", "joined": "guest_hostname ~ '!'"},
        keyed_groups=[{"key": "guest_os.id"}],
    )
    found = _vars(data, next(iter(data.hosts)))
    templar = Templar(loader=DataLoader(), variables=found)
    for name in ("guest_hostname", "copy", "libvirt_title"):
        assert templar.template(found[name]) == text
    assert templar.template(found["joined"]) == f"{text}!"
    assert templar.template(found["guest_os"]) == {"id": text, "name": "plain"}


@pytest.mark.parametrize(
    "text", ["plain", "", "with 'quotes' and \\ and $x", "ü 漢", "a: b", "[x]", "Debian GNU/Linux 12 (bookworm)"]
)
def test_plain_text_is_exported_plain(text: str) -> None:
    """As ansible-inventory --list --export writes it, and AWX reads it."""
    assert _exported(untrusted({"b": [text]})) == {"b": [text]}


@pytest.mark.parametrize("text", UNSAFE)
def test_what_may_be_a_template_is_exported_as_unsafe(text: str) -> None:
    assert _exported(untrusted({"b": [text]})) == {"b": [{"__ansible_unsafe": text}]}


def _exported(value: t.Any) -> t.Any:
    """A host's variable after what InventoryCLI.dump() does for JSON, which differs between the versions of ansible-core."""
    inventory = {"_meta": {"hostvars": {"web": {"variable": value}}}}
    try:
        from ansible._internal._json._profiles import _inventory_legacy
    except ImportError:
        from ansible.parsing.ajson import AnsibleJSONEncoder

        text = json.dumps(inventory, cls=AnsibleJSONEncoder, preprocess_unsafe=True)
    else:
        text = json.dumps(inventory, cls=_inventory_legacy.Encoder)
    return json.loads(text)["_meta"]["hostvars"]["web"]["variable"]


@pytest.mark.parametrize("value", [None, True, 5, 1.5])
def test_what_is_no_text_stays_itself(value: t.Any) -> None:
    assert untrusted({"a": [value, (value,)], 5: value}) == {"a": [value, [value]], "5": value}


def _loaded(module: str) -> set[str]:
    """What a new interpreter has loaded after ``module``: a collection's modules are compiled at each start."""
    program = f"import sys, {module}; print(*sys.modules)"
    path = {"PYTHONPATH": str(Path(gather.__file__).parents[6])}
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, **path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition("guest_agent.plugins.module_utils.")[2] or name for name in done.stdout.split()}


def test_a_cached_inventory_loads_nothing_that_asks_agents() -> None:
    names = _loaded(PLUGIN)
    assert "_records.record" in names
    assert "jmespath" not in names
    assert not names & {"_records.gather", "_agent.client", "_libvirt.hypervisor", "_records.ask", "_inside.exec", "libvirt_qemu"}


def test_an_inventory_loads_only_what_asks_for_its_default_subsets() -> None:
    names = _loaded(gather.__name__)
    assert {name for name in names if name.startswith("_commands.")} == {"_commands.network", "_commands.system"}
    assert not {name for name in names if name.startswith("_inside.")}
    assert not names & {"_records.probes", "_records.verdict", "_reach.diagnosis"}
