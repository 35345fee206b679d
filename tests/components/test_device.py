from pathlib import Path

import pytest

from mastery.components.device import MOUNTINFO, describe, mount_of, read_mounts
from mastery.errors import MachineCannot

LINES = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
25 24 0:23 / /dev/shm rw,relatime shared:3 - tmpfs tmpfs rw,size=24684084k
40 27 8:17 / /srv/my\\040data ro,noatime master:1 propagate_from:2 - xfs /dev/sdb1 rw,attr2
41 27 0:50 / /home rw - nfs4 server:/home rw,vers=4.2
42 27 0:51 / /srv/my\\040data/inner rw - tmpfs none rw
"""


def machine(tmp_path: Path, line: str, **files: str) -> dict[str, Path]:
    """A mountinfo with one line for everything below the test's folder, and a sysfs with these files."""
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "mountinfo").write_text(line.format(here=tmp_path / "data") + "\n")
    sysfs = tmp_path / "sys"
    (sysfs / "dev" / "block").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        file = sysfs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return {"mountinfo": tmp_path / "mountinfo", "sysfs": sysfs}


def disk(tmp_path: Path, number: str, folder: str, **facts: str) -> None:
    """A block device in the sysfs of the test, with a link from its number."""
    sysfs = tmp_path / "sys"
    for name, text in facts.items():
        file = sysfs / folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    link = sysfs / "dev" / "block" / number
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(sysfs / folder)


def test_a_line_of_mountinfo_is_read_with_its_optional_fields_and_its_escaped_spaces() -> None:
    mounts = read_mounts(LINES)
    assert mounts[2].point == Path("/srv/my data")
    assert (mounts[2].number, mounts[2].file_system, mounts[2].source) == ((8, 17), "xfs", "/dev/sdb1")


def test_a_read_only_bind_of_a_writable_file_system_is_read_only() -> None:
    assert "rw" not in read_mounts(LINES)[2].options
    assert "ro" in read_mounts(LINES)[2].options


@pytest.mark.parametrize(
    ("path", "file_system"),
    [
        ("/var/tmp", "ext4"),
        ("/dev/shm/x", "tmpfs"),
        ("/dev/shmall", "ext4"),
        ("/srv/my data/x", "xfs"),
        ("/srv/my data/inner/x", "tmpfs"),
        ("/home/me", "nfs4"),
    ],
)
def test_a_path_lies_in_the_longest_mount_point_above_it(path: str, file_system: str) -> None:
    assert mount_of(Path(path), read_mounts(LINES)).file_system == file_system


def test_of_two_mounts_on_one_point_the_later_hides_the_earlier() -> None:
    again = LINES + "50 27 0:60 / /home rw - ecryptfs /home/.secret rw\n"
    assert mount_of(Path("/home/me"), read_mounts(again)).file_system == "ecryptfs"


def test_a_path_that_no_mount_holds_is_refused_with_a_remedy() -> None:
    with pytest.raises(MachineCannot) as refused:
        mount_of(Path("/x"), read_mounts(LINES.split("\n", 1)[1]))
    assert "--on disk=" in refused.value.remedy


def test_a_partition_speaks_through_its_disk(tmp_path: Path) -> None:
    places = machine(tmp_path, "1 0 8:17 / {here} rw - xfs /dev/sdb1 rw,attr2")
    base = "devices/pci0000:00/ata2/host1/block/sdb"
    disk(tmp_path, "8:16", base, queue__rotational="1", queue__write_cache="write back", device__model="ST4000")
    disk(tmp_path, "8:17", f"{base}/sdb1", partition="1")
    facts = describe(tmp_path / "data", **places)
    assert (facts.device, facts.disk, facts.transport, facts.model) == ("sdb1", "sdb", "sata", "ST4000")
    assert (facts.rotational, facts.write_cache, facts.volatile_cache) == (True, "write back", True)
    assert "spinning" in facts.sentence()


def test_an_encrypted_mapping_over_two_drives_tells_of_both(tmp_path: Path) -> None:
    places = machine(tmp_path, "1 0 253:0 / {here} rw - ext4 /dev/mapper/home rw")
    disk(tmp_path, "259:0", "devices/nvme/nvme0/nvme0n1", queue__rotational="0", queue__write_cache="write through")
    disk(tmp_path, "259:1", "devices/nvme/nvme1/nvme1n1", queue__rotational="0", queue__write_cache="write back")
    disk(tmp_path, "253:0", "devices/virtual/block/dm-0", dm__uuid="CRYPT-LUKS2-abc-home", queue__write_cache="write through")
    slaves = tmp_path / "sys" / "devices/virtual/block/dm-0" / "slaves"
    slaves.mkdir()
    for each in ("nvme0", "nvme1"):
        (slaves / f"{each}n1").symlink_to(tmp_path / "sys" / "devices/nvme" / each / f"{each}n1")
    facts = describe(tmp_path / "data", **places)
    assert facts.encrypted_by == "dm-crypt"
    assert facts.disk == "nvme0n1+nvme1n1"
    assert facts.transport == "nvme"
    assert facts.write_cache == "write back"


def test_an_overlay_whose_upper_folder_is_in_memory_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "upper").mkdir()
    lines = (
        f"1 0 0:30 / {tmp_path / 'data'} rw - overlay overlay rw,lowerdir=/l,upperdir={tmp_path / 'upper'},workdir=/w\n"
        f"2 0 0:31 / {tmp_path / 'upper'} rw - tmpfs tmpfs rw\n"
    )
    (tmp_path / "mountinfo").write_text(lines)
    facts = describe(tmp_path / "data", mountinfo=tmp_path / "mountinfo", sysfs=tmp_path)
    assert facts.in_memory
    assert (facts.file_system, facts.layers) == ("overlay", ("tmpfs",))


def test_an_overlay_whose_upper_folder_is_out_of_sight_has_unknown_facts_and_no_false_ones(tmp_path: Path) -> None:
    places = machine(tmp_path, "1 0 0:30 / {here} rw - overlay overlay rw,upperdir=/nowhere/at/all,workdir=/w")
    facts = describe(tmp_path / "data", **places)
    assert not facts.in_memory
    assert (facts.device, facts.disk, facts.write_cache, facts.volatile_cache) == (None, None, None, None)


def test_a_compressed_memory_device_is_memory_whatever_file_system_it_carries(tmp_path: Path) -> None:
    places = machine(tmp_path, "1 0 251:0 / {here} rw - ext4 /dev/zram0 rw")
    disk(tmp_path, "251:0", "devices/virtual/block/zram0", queue__rotational="0", queue__write_cache="write through")
    assert describe(tmp_path / "data", **places).in_memory


def test_a_network_file_system_is_named_as_one_without_the_name_of_its_server(tmp_path: Path) -> None:
    places = machine(tmp_path, "1 0 0:50 / {here} rw - nfs4 secret-server:/home rw")
    facts = describe(tmp_path / "data", **places)
    assert facts.over_network
    assert "nfs4 on a server" in facts.sentence() and "secret" not in facts.sentence()


def test_the_file_system_of_a_loop_device_is_described_down_to_the_disk_of_its_image(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "images").mkdir()
    lines = f"1 0 7:0 / {tmp_path / 'data'} rw - ext4 /dev/loop0 rw\n2 0 0:9 / {tmp_path / 'images'} rw - tmpfs tmpfs rw\n"
    (tmp_path / "mountinfo").write_text(lines)
    image = tmp_path / "images" / "disk.img"
    image.write_bytes(b"")
    disk(tmp_path, "7:0", "devices/virtual/block/loop0", loop__backing_file=str(image), queue__write_cache="write back")
    facts = describe(tmp_path / "data", mountinfo=tmp_path / "mountinfo", sysfs=tmp_path / "sys")
    assert facts.in_memory
    assert facts.layers == ("loop0", "tmpfs")


def test_a_machine_without_mountinfo_gives_the_free_space_and_claims_nothing_else(tmp_path: Path) -> None:
    facts = describe(tmp_path, mountinfo=tmp_path / "none", sysfs=tmp_path)
    assert facts.free_bytes > 0
    assert facts.write_cache is None and not facts.in_memory


@pytest.mark.skipif(not MOUNTINFO.exists(), reason="only Linux has mountinfo")
def test_this_machine_describes_the_file_system_that_its_kernel_calls_memory_as_memory() -> None:
    assert describe(Path("/dev/shm")).in_memory
