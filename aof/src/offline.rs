//! A new base where no log is running: offline compaction, and BGREWRITEAOF with `appendonly no`.

use crate::dir::{Directory, remove_superseded};
use crate::error::Error;
use crate::manifest::Manifest;
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
        let old = self.manifest().clone();
        let history = old.incrs.into_iter().chain(old.base).chain(old.history).collect();
        self.publish_first(&base.temp_path, Manifest { base: Some(entry), history, incrs: Vec::new() })?;
        if !options.disable_auto_gc {
            // The base counts. What cannot be removed stays listed as history, and the next start tries again.
            let _ = self.remove_history();
        }
        Ok(())
    }

    fn remove_history(&mut self) -> Result<(), Error> {
        let removed = remove_superseded(&**self.fs(), self.superseded());
        self.forget(&removed)
    }
}
