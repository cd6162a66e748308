//! A new base where no log is running: offline compaction, and BGREWRITEAOF with `appendonly no`.

use std::io::ErrorKind;

use crate::dir::Directory;
use crate::error::Error;
use crate::manifest::{Entry, Manifest};
use crate::options::Options;
use crate::rotate::NewBase;

impl Directory {
    /// Publishes a base in place of everything that is listed, and removes that, unless `disable_auto_gc`. No log may be
    /// running in the directory, nor start meanwhile. What [`NewBase::covers`] says does not matter.
    ///
    /// # Errors
    /// [`Error::Io`]: the directory is as before, but the temporary base may be gone.
    pub fn supersede(mut self, base: &NewBase, options: &Options) -> Result<(), Error> {
        self.prepare()?;
        let entry = self.new_base_entry(base.format)?;
        self.bring_in(&base.temp_path, &entry)?;
        let old = self.manifest().clone();
        let history = old.incrs.into_iter().chain(old.base).chain(old.history).collect();
        let published = self.publish(Manifest { base: Some(entry.clone()), history, incrs: Vec::new() });
        published.inspect_err(|_| self.remove_unlisted(&[entry]))?;
        if !options.disable_auto_gc {
            // The base counts. What cannot be removed stays listed as history, and the next start tries again.
            let _ = self.remove_history();
        }
        Ok(())
    }

    fn remove_history(&mut self) -> Result<(), Error> {
        let is_gone = |entry: &Entry| match self.fs().remove(&self.path(&entry.name)) {
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(()) => true,
        };
        let removed: Vec<Entry> = self.superseded().into_iter().filter(is_gone).collect();
        self.forget(&removed)
    }
}
