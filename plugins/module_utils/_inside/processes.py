# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The processes of a command in the guest, and their end. POSIX sh, and Linux's /proc. Pure.

A command has a session of its own, but su and others begin another one for what they start. So those belong to it, too, that
descend from it, and all in the sessions and groups that these lead.
"""

from __future__ import annotations

import typing as t

#: The processes in $p; in $q their sessions and groups, which stay when their leaders are gone.
_FAMILY: t.Final = """
q=" $G "
family() {
  p=" " y=" $G "
  until [ "$p" = "$y" ]; do
    p=$y
    for f in /proc/[0-9]*/stat; do
      IFS= read -r l 2>/dev/null <"$f" || continue
      x=${l%% *}
      set -- ${l##*) }
      case $p in *" $2 "*) ;; *) case $q in *" $3 "* | *" $4 "*) ;; *) continue ;; esac ;; esac
      case $y in *" $x "*) ;; *) y="$y$x " ;; esac
      case " $3 $4 " in *" $x "*) case $q in *" $x "*) ;; *) q="$q$x " ;; esac ;; esac
    done
  done
}
"""
#: In a group that has no process any more a number may be another's: it is not signalled by itself.
_END: t.Final = """
alive() { for x in $p; do kill -0 "$x" 2>/dev/null && return 0; done; return 1; }
for s in TERM KILL; do
  [ -n "$G" ] || break
  family; kill -$s "-$G" 2>/dev/null; kill -$s $p 2>/dev/null
  c=0; while [ $c -lt 20 ] && alive; do c=$((c+1)); sleep 0.1 2>/dev/null || sleep 1; done
done
"""


def end() -> str:
    """Ends the process $G and all that belongs to it; nothing where that is empty."""
    return _FAMILY + _END
