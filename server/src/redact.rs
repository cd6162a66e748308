//! What the slow log and MONITOR must not show: passwords, and the values of secret directives.

use smallvec::SmallVec;

use crate::commands::Command;
use crate::config::{self, SENSITIVE};

/// A request's words, of which some are hidden.
pub type Shown<'a> = SmallVec<[&'a [u8]; 8]>;

const HIDDEN: &[u8] = b"(redacted)";

/// The words of a request as they may be shown.
pub fn shown<'a>(command: Command, argv: &[&'a [u8]]) -> Shown<'a> {
    let mut shown = Shown::from_slice(argv);
    if command.is("auth") {
        hide(&mut shown, 1, usize::MAX);
    } else if command.is("hello") {
        // HELLO 3 AUTH user password SETNAME name
        if let Some(at) = argv.iter().position(|word| word.eq_ignore_ascii_case(b"auth")) {
            hide(&mut shown, at + 1, 2);
        }
    } else if command.is("migrate") {
        // MIGRATE host port key db timeout ... AUTH password | AUTH2 user password ...
        let options =
            argv.iter().enumerate().skip(6).take_while(|(_, word)| !word.eq_ignore_ascii_case(b"keys"));
        for (at, word) in options {
            match &word.to_ascii_lowercase()[..] {
                b"auth" => hide(&mut shown, at + 1, 1),
                b"auth2" => hide(&mut shown, at + 1, 2),
                _ => {}
            }
        }
    } else if command.is("config") {
        // CONFIG SET name value name value
        let names = argv.iter().enumerate().skip(2).step_by(2);
        let secret = |name: &[u8]| config::find(name).is_some_and(|(row, _)| row.has(SENSITIVE));
        for (at, _) in names.filter(|(_, name)| secret(name)) {
            hide(&mut shown, at + 1, 1);
        }
    }
    shown
}

fn hide(shown: &mut Shown<'_>, from: usize, count: usize) {
    shown.iter_mut().skip(from).take(count).for_each(|word| *word = HIDDEN);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::CommandTable;

    #[test]
    fn passwords_and_secret_directives_are_hidden_and_nothing_else() {
        for (request, expected) in [
            ("auth secret", "auth (redacted)"),
            ("AUTH user secret", "AUTH (redacted) (redacted)"),
            ("hello 3 setname n", "hello 3 setname n"),
            ("hello 3 AUTH u p setname n", "hello 3 AUTH (redacted) (redacted) setname n"),
            ("config set requirepass p hz 10", "config set requirepass (redacted) hz 10"),
            ("config set hz 10 MasterAuth p", "config set hz 10 MasterAuth (redacted)"),
            ("config get requirepass", "config get requirepass"),
            ("migrate h 1 k 0 9 copy auth p", "migrate h 1 k 0 9 copy auth (redacted)"),
            (
                "migrate h 1  0 9 AUTH2 u p keys auth k",
                "migrate h 1  0 9 AUTH2 (redacted) (redacted) keys auth k",
            ),
            ("set auth requirepass", "set auth requirepass"),
        ] {
            let argv: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
            let command = CommandTable::new(&[]).lookup(&argv, None).unwrap();
            let text = shown(command, &argv).join(&b' ');
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }
}
