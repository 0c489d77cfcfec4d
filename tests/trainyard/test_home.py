"""HOME: one service at a time, no shared drives, no litter."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainyard.processes import wait_for
from trainyard.home import HomeError, file_system, locked_home, refuse_shared, remember_socket_folder

MOUNTS = r"""
sysfs /sys sysfs rw 0 0
/dev/vda1 / ext4 rw 0 0
server:/export /mnt/nfs nfs4 rw 0 0
//server/share /mnt/my\040share cifs rw 0 0
C:\134 /mnt/c 9p rw,aname=drvfs 0 0
me@host: /mnt/ssh fuse.sshfs rw 0 0
tmpfs /mnt/nfs/scratch tmpfs rw 0 0
/dev/vdb1 /mnt/twice ext4 rw 0 0
server:/b /mnt/twice nfs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("home", "kind"),
    [
        ("/mnt/nfs/me/var", "nfs4"),
        ("/mnt/my share/var", "cifs"),
        ("/mnt/c/Users/me/var", "9p"),
        ("/mnt/ssh/var", "fuse.sshfs"),
        ("/mnt/twice/var", "nfs"),
    ],
)
def test_a_network_or_windows_drive_is_refused_with_what_to_do(home: str, kind: str, mounts: Path) -> None:
    with pytest.raises(HomeError, match=rf"{home} is on .* of type {kind}.* Set TRAINYARD_HOME to a folder on a local"):
        refuse_shared(Path(home), mounts)


@pytest.mark.parametrize("home", ["/home/me/var", "/mnt/nfs/scratch/var", "/mnt/nfsx/var"])
def test_a_local_disk_is_not(home: str, mounts: Path) -> None:
    refuse_shared(Path(home), mounts)


def test_a_link_to_a_shared_drive_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "shared")
    (tmp_path / "mounts").write_text(f"/dev/vda1 / ext4 rw 0 0\nx {tmp_path}/shared nfs rw 0 0\n")
    assert file_system(tmp_path / "home" / "var", tmp_path / "mounts") == (tmp_path / "shared", "nfs")


def test_a_system_without_such_a_list_refuses_nothing(tmp_path: Path) -> None:
    refuse_shared(tmp_path, tmp_path / "no-such-file")


def test_two_services_on_one_home_are_refused(tmp_path: Path) -> None:
    home = tmp_path / "var"
    with (
        locked_home(home),
        pytest.raises(HomeError, match=rf"Another Trainyard \(process {os.getpid()}\) already runs on {home}"),
        locked_home(home),
    ):
        pass
    with locked_home(home):
        pass


def test_a_killed_service_holds_no_lock_and_its_socket_folder_goes_at_the_next_start(tmp_path: Path) -> None:
    home, folder = tmp_path / "var", tmp_path / "trainyard-abc"
    code = f"""
import pathlib, time
from trainyard.home import locked_home, remember_socket_folder
with locked_home(pathlib.Path({str(home)!r})):
    folder = pathlib.Path({str(folder)!r})
    folder.mkdir()
    remember_socket_folder(pathlib.Path({str(home)!r}), folder)
    print("up", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGKILL)
    wait_for(folder.exists)
    with locked_home(home):
        assert not folder.exists()


def test_a_note_that_names_another_folder_removes_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    home = tmp_path / "var"
    home.mkdir()
    remember_socket_folder(home, precious)
    with locked_home(home):
        assert precious.exists()


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"Cannot write to .*: Not a directory"), locked_home(tmp_path / "file" / "var"):
        pass
