//! A disk that knows only lengths, watches the order of calls, and lets loom interrupt writes and syncs.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::fs::{File, Fs};

#[derive(Debug, Default)]
pub(crate) struct FakeDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<FakeFile>>>,
    /// The next fdatasync of an incr with bytes in it fails.
    pub(crate) fail_sync: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(crate) struct FakeFile {
    len: AtomicU64,
    synced: AtomicU64,
    busy: AtomicBool,
    fail_sync: Arc<AtomicBool>,
    /// An fdatasync has failed: the next one succeeds, and saves nothing.
    is_spoilt: AtomicBool,
    /// Where loom may switch threads.
    point: loom::sync::atomic::AtomicUsize,
}

impl FakeDisk {
    /// Bytes in all incrs, and how many of them are synced.
    pub(crate) fn incr_bytes(&self) -> (u64, u64) {
        let files = self.files.lock().unwrap();
        let incrs = files.iter().filter(|(path, _)| is_incr(path));
        incrs.fold((0, 0), |(len, synced), (_, file)| {
            (len + file.len.load(SeqCst), synced + file.synced.load(SeqCst))
        })
    }

    /// Bytes in the incr with the highest number, and how many of them are synced.
    pub(crate) fn last_incr_bytes(&self) -> (u64, u64) {
        let files = self.files.lock().unwrap();
        let last = files.iter().rfind(|(path, _)| is_incr(path));
        last.map_or((0, 0), |(_, file)| (file.len.load(SeqCst), file.synced.load(SeqCst)))
    }

    /// True if no file but the last incr has bytes that are not synced.
    pub(crate) fn only_the_last_is_dirty(&self) -> bool {
        let files = self.files.lock().unwrap();
        let incrs: Vec<_> = files.iter().filter(|(path, _)| is_incr(path)).map(|(_, file)| file).collect();
        let with_bytes = incrs.iter().rposition(|file| file.len.load(SeqCst) > 0).unwrap_or(0);
        incrs[..with_bytes].iter().all(|file| file.len.load(SeqCst) == file.synced.load(SeqCst))
    }

    fn get(&self, path: &Path) -> io::Result<Arc<FakeFile>> {
        self.files.lock().unwrap().get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn is_incr(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".incr.aof")
}

impl Fs for FakeDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(FakeFile {
            len: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            is_spoilt: AtomicBool::new(false),
            fail_sync: if is_incr(path) { self.fail_sync.clone() } else { Arc::default() },
            point: loom::sync::atomic::AtomicUsize::new(0),
        });
        self.files.lock().unwrap().insert(path.to_path_buf(), file.clone());
        Ok(file)
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.get(path)?)
    }

    fn open_read(&self, path: &Path, _: u64) -> io::Result<Arc<dyn File>> {
        Err(io::Error::new(io::ErrorKind::NotFound, path.display().to_string()))
    }

    fn len_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(self.get(path)?.len.load(SeqCst))
    }

    fn truncate(&self, path: &Path, len_bytes: u64) -> io::Result<()> {
        let file = self.get(path)?;
        file.len.store(len_bytes, SeqCst);
        file.synced.fetch_min(len_bytes, SeqCst);
        Ok(())
    }

    /// Where nothing was replayed, nothing is written again.
    fn overwrite(&self, path: &Path, _: u64, _: &[u8]) -> io::Result<()> {
        self.get(path).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().unwrap().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock().unwrap();
        Ok(files.keys().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl FakeFile {
    fn interrupt(&self) {
        self.point.load(loom::sync::atomic::Ordering::Relaxed);
    }
}

impl File for FakeFile {
    fn read(&self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        assert!(!self.busy.swap(true, SeqCst), "two threads write to one file");
        self.interrupt();
        let count: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.len.fetch_add(count as u64, SeqCst);
        self.busy.store(false, SeqCst);
        Ok(count)
    }

    fn is_named(&self, _: &Path) -> io::Result<bool> {
        Ok(true)
    }

    /// Only what was there when it began is covered.
    fn sync_data(&self) -> io::Result<()> {
        let covered = self.len.load(SeqCst);
        if covered == 0 {
            return Ok(());
        }
        self.interrupt();
        if self.fail_sync.swap(false, SeqCst) {
            self.is_spoilt.store(true, SeqCst);
            return Err(io::Error::from_raw_os_error(5));
        }
        if !self.is_spoilt.load(SeqCst) {
            self.synced.fetch_max(covered, SeqCst);
        }
        Ok(())
    }
}
