//! The words after a command's name. Each command takes what it knows and refuses the rest.

use anyhow::{Context, Result, bail};

/// What is left of the command line.
#[derive(Debug)]
pub(crate) struct Args(Vec<String>);

impl Args {
    /// The words as given.
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Self {
        Args(words.collect())
    }

    /// Takes `--name` out; true if it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        self.0.len() < before
    }

    /// Takes `--name VALUE` out.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.0.iter().position(|word| word == name) else { return Ok(None) };
        self.0.remove(at);
        if at == self.0.len() {
            bail!("{name} needs a value");
        }
        Ok(Some(self.0.remove(at)))
    }

    /// Takes `--name NUMBER` out.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        value.parse().map(Some).with_context(|| format!("{name} {value}: not a number"))
    }

    /// Takes the remaining words, none of which may be an option.
    pub(crate) fn words(&mut self) -> Result<Vec<String>> {
        match self.0.iter().find(|word| word.starts_with("--")) {
            Some(option) => bail!("unknown option {option}"),
            None => Ok(std::mem::take(&mut self.0)),
        }
    }

    /// Refuses whatever is left.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.words()?.first() {
            Some(word) => bail!("unexpected argument {word:?}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(String::from))
    }

    #[test]
    fn options_are_taken_out_wherever_they_stand() {
        let mut args = args("unit/expire --rounds 3 --all unit/scan");
        assert!(args.flag("--all") && !args.flag("--all"));
        assert_eq!(args.number("--rounds").unwrap(), Some(3));
        assert_eq!(args.words().unwrap(), ["unit/expire", "unit/scan"]);
    }

    #[test]
    fn an_unknown_or_valueless_option_is_refused() {
        assert!(args("--al").words().is_err());
        assert!(args("x --rounds").value("--rounds").is_err());
        assert!(args("--rounds many").number("--rounds").is_err());
        assert!(args("stray").finish().is_err());
    }
}
