//! A new base where no log is running: offline compaction, and BGREWRITEAOF with `appendonly no`.

use std::path::Path;

use crate::dir::{Directory, remove_superseded};
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
        let old = self.manifest().clone();
        let was_empty = old.is_empty();
        let history = old.incrs.into_iter().chain(old.base).chain(old.history).collect();
        let new = Manifest { base: Some(entry.clone()), history, incrs: Vec::new() };
        if was_empty {
            self.publish_first(&base.temp_path, new)?;
        } else {
            self.replace_all(&base.temp_path, entry, new)?;
        }
        if !options.disable_auto_gc {
            // The base counts. What cannot be removed stays listed as history, and the next start tries again.
            let _ = self.remove_history();
        }
        Ok(())
    }

    /// Publishes `new`, and in it the base of `entry`, which stands at `temp_path`, where there is a log already. So that any
    /// server finds what it is to load, the base has its name before it counts; and so that any server removes what a kill
    /// between the two leaves, the old log lists it as history first: nothing else tells it from somebody's data.
    fn replace_all(&mut self, temp_path: &Path, entry: Entry, new: Manifest) -> Result<(), Error> {
        let mut announced = self.manifest().clone();
        announced.history.push(entry.clone());
        self.publish(announced)?;
        let path = self.path(&entry.name);
        let published = self.bring_in(temp_path, &path).and_then(|()| self.list(new));
        published.inspect_err(|_| {
            if self.is_unlisted(&entry) {
                // What cannot be taken back now is removed as history.
                let _ = self.fs().remove(&path);
                let _ = self.forget(&[entry]);
            }
        })
    }

    fn remove_history(&mut self) -> Result<(), Error> {
        let removed = remove_superseded(&**self.fs(), self.superseded());
        self.forget(&removed)
    }
}
