# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where each module's EXAMPLES are run, and what the guests of the lab need for that. test_module_examples.py runs them.

What stands in neither DEBIAN nor CANNOT runs on tiny guests. Tasks are known by their module and their name.
"""

from __future__ import annotations

#: What is read as something else, since the documentation's hosts and paths of the controller are not here.
REWRITTEN = {
    "/srv/images/app.tar": "{place}/app.tar",
    "/usr/local/lib/site/": "{place}/",
    "/var/backups/": "{place}/",
    "dest: /tmp/": "dest: {place}/",
}
#: Domains of the examples that are others here, since each guest takes its time to boot.
ALSO = {"app1": "web4", "legacy1": "web3", "test1": "web2"}
ON_DEBIAN = ("web1", "desktop1", "kiosk1")

#: module -> tasks that need what a tiny guest lacks: systemd, logind, Python, SSH, chpasswd, apt. "" is all of them.
DEBIAN: dict[str, tuple[str, ...]] = {
    "guest_session": ("",),
    "run_command": (
        "Restart a guest's network, which a connection over that network could not survive",
        "Create a key once, as the user that owns it",
        "Set a password, which appears in no log",
    ),
    "run_script": ("Run a few lines of Python as a user",),
    "user_password": ("",),
    "wait_for_guest": (
        "Wait until the agent answers",
        "Restart the guest by a command",
        "Wait until web1 has been restarted, has its address and runs its web server",
    ),
}

#: (module, task) -> why no guest of the lab can show it.
CANNOT: dict[tuple[str, str], str] = {
    ("run_command", "Restart a service of a Windows guest"): "no guest is a real Windows",
    ("run_script", "Run a script of PowerShell in a Windows guest"): "no guest is a real Windows",
    ("fsfreeze", "Take a snapshot of the volume"): "the controller has no volume group",
    ("snapshot", "Go back to it, and continue when the agent answers"): "libvirt 9.0 cannot; test_revert.py does it on 11.3",
    ("suspend", "Suspend web2 to its disk, which may take minutes"): "no guest has a swap area as large as its memory",
}

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN0Wgu5GWvgn9xvGhdBCSWlKk/hTUQKPUbBDVDFDk2Vx {name}"

_HOST_KEY = f"mkdir -p /etc/ssh && echo '{KEY.format(name='root@web')}' >/etc/ssh/ssh_host_ed25519_key.pub"
_USER = "echo {0}:x:{1}:{1}::/home/{0}:/bin/sh >>/etc/passwd; mkdir -p /home/{0}; chown {1} /home/{0}; echo {0}:x:{1}: >>/etc/group"
#: What the examples take for granted of their guests, as commands of a shell.
TINY = {
    "web1": (
        _USER.format("deploy", 1000),
        _USER.format("app", 1001),
        "mkdir -p /etc/systemd/network /srv /var/log && echo done >/var/log/cloud-init-output.log",
        f"{_HOST_KEY} && echo PermitRootLogin no >/etc/ssh/sshd_config",
        "echo offline >/sys/devices/system/memory/memory5/state",
    ),
    "web2": (
        _HOST_KEY,
        """mkdir -p /run/cloud-init && echo '{"v1": {"datasource": "None", "errors": []}}' >/run/cloud-init/result.json""",
    ),
    # A filesystem of its own, and a full one.
    "db1": (
        "umount /data && mkdir -p /var/lib/postgresql && mount /dev/vda /var/lib/postgresql",
        "dd if=/dev/zero of=/var/lib/postgresql/full bs=1k count=13500 2>/dev/null && sync",
    ),
}
_USERS = ("deploy", "ann", "kiosk", "debian", "guest")
_UNIT = "/etc/systemd/system/nginx.service"
#: The same of the Debian guest.
DEBIAN_HAS = (
    *(f"useradd -m {user}" for user in _USERS),
    # Whether a web server runs is asked of systemd: any unit by its name will do.
    f"printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' >{_UNIT}",
    "systemctl --quiet enable nginx",
)
