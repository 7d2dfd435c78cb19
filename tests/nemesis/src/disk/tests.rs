use super::*;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;

/// A disk and the folder that it is mounted in; none, said aloud, where FUSE is not to be had.
fn disk() -> Option<(tempfile::TempDir, Disk)> {
    let folder = tempfile::tempdir().unwrap();
    match Disk::mount(folder.path()) {
        Ok(disk) => Some((folder, disk)),
        Err(error) => {
            eprintln!("NOT RUN: /dev/fuse is not usable here: {error}");
            None
        }
    }
}

fn cut(disk: &Disk) -> Taken {
    disk.power_cut(Cut::Lost, &mut Rng::new(1)).unwrap()
}

#[test]
fn a_power_cut_takes_what_no_sync_covers() {
    let Some((_folder, disk)) = disk() else {
        return;
    };
    let (kept, lost) = (disk.path().join("kept"), disk.path().join("lost"));
    let mut file = File::create(&kept).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_data().unwrap();
    File::open(disk.path()).unwrap().sync_all().unwrap();
    file.write_all(b" and not").unwrap();
    fs::write(&lost, b"x").unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"synced and not");
    drop(file);
    let taken = cut(&disk);
    assert_eq!((taken.files, taken.names), (2, 1));
    assert_eq!(fs::read(&kept).unwrap(), b"synced");
    assert!(!lost.exists());
    assert!(disk.counts().syncs >= 2);
}

#[test]
fn files_behave_as_files_do() {
    let Some((_folder, disk)) = disk() else {
        return;
    };
    let root = disk.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/b/f"), vec![7; 300_000]).unwrap();
    assert!(fs::remove_dir(root.join("a")).is_err(), "it is not empty");
    fs::rename(root.join("a"), root.join("c")).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(root.join("c/b/f"))
        .unwrap();
    file.write_all_at(b"new", 299_999).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 300_002);
    file.set_len(10).unwrap();
    fs::remove_file(root.join("c/b/f")).unwrap();
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [7; 10], "it is open, so it is there");
    assert_eq!(file.metadata().unwrap().len(), 10);
    file.lock().unwrap();
    let names: Vec<_> = fs::read_dir(root)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(names, ["c"]);
}

#[test]
fn a_full_disk_refuses_to_grow_and_lets_overwrite() {
    let Some((_folder, disk)) = disk() else {
        return;
    };
    let path = disk.path().join("f");
    fs::write(&path, [1; 100]).unwrap();
    disk.set_room(Some(0));
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[2; 100], 0).unwrap();
    let full = file.write_all_at(&[3], 100).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert!(File::create(disk.path().join("g")).is_err());
    assert_eq!(disk.counts().refused, 2);
    disk.set_room(None);
    file.write_all_at(&[3], 100).unwrap();
}

#[test]
fn a_failing_sync_says_so_and_covers_nothing() {
    let Some((_folder, disk)) = disk() else {
        return;
    };
    let path = disk.path().join("f");
    File::create(&path).unwrap().sync_all().unwrap();
    File::open(disk.path()).unwrap().sync_all().unwrap();
    disk.set_syncs_fail(true);
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"x").unwrap();
    assert!(file.sync_data().is_err());
    drop(file);
    disk.set_syncs_fail(false);
    cut(&disk);
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_dropped_disk_is_unmounted_even_where_somebody_uses_it() {
    let Some((_folder, disk)) = disk() else {
        return;
    };
    let mount = disk.path().to_owned();
    let mounted = || {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        mounts.contains(mount.to_str().unwrap())
    };
    assert!(mounted());
    let user = File::create(mount.join("f")).unwrap();
    drop(disk);
    assert!(!mounted());
    drop(user);
}
