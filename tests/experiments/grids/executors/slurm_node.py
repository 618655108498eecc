"""A real Slurm of one node, in a folder of its own: munged, slurmctld and slurmd, as the current user."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

_CONFIGURATION: Final = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
KillWait=1
MinJobAge=300
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=500 State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=60 State=UP OverSubscribe=FORCE:4
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
"""


def missing() -> list[str]:
    """The programs of Slurm that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Start Slurm in a folder, of a short name (sockets); yields the environment in which its commands find it."""
    host = socket.gethostname().split(".")[0]
    ports = _free_ports(2)
    user = pwd.getpwuid(os.getuid()).pw_name
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(host=host, controller=ports[0], daemon=ports[1], user=user, folder=folder)
    )
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    munge = {"socket": "munge.sock", "key-file": key.name, "pid-file": "munge.pid", "log-file": "munge.log"}
    munge["seed-file"] = "munge.seed"
    environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(configuration)}
    words = [f"--{option}={folder / name}" for option, name in munge.items()]
    with ExitStack() as running:
        for command in (
            ["munged", "--force", "--foreground", *words],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", host],
        ):
            running.enter_context(_running(command, folder, environment))
        yield environment


@contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with (folder / f"{command[0]}.said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as open_sockets:
        probes = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
