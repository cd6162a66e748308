//! Patterns of KEYS, SCAN, PSUBSCRIBE and CONFIG GET.
//!
//! ```text
//! *         any bytes, also none          [abc]  one of these bytes     \x   the byte x
//! ?         any byte                      [^a]   any byte but these
//!                                         [a-z]  one in this range, in either order
//! ```
//! A class without its `]` ends with the pattern; a `\` at the end stands for itself. Bytes of a range compare as
//! unsigned ones (Redis's order depends on its compiler's `char`). Source: redis 7.2 `src/util.c` `stringmatchlen`.

/// Whether `text` as a whole fits `pattern`; with `nocase`, ASCII letters fit in either case.
///
/// Takes at most `pattern.len() * text.len()` steps and no stack: only the last `*` is ever tried again, because an
/// earlier one that takes more leaves less text for the same rest (Redis recursed for each: CVE-2024-31228).
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    // Redis's quirk: not even `*` fits the empty text. KEYS and SCAN treat a lone `*` apart.
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            if rest.is_empty() {
                return true;
            }
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        let Some((&byte, rest)) = text.split_first() else { return pattern.is_empty() };
        if let Some(after) = fits(pattern, byte, nocase) {
            (pattern, text) = (after, rest);
            continue;
        }
        let Some((after_star, [_, shorter @ ..])) = retry else { return false };
        (pattern, text) = (after_star, shorter);
        retry = Some((after_star, shorter));
    }
}

/// If the pattern's first part (not a `*`) accepts `byte`, the rest of the pattern.
#[inline]
fn fits(pattern: &[u8], byte: u8, nocase: bool) -> Option<&[u8]> {
    let (accepted, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', class @ ..] => {
            let (found, rest) = in_class(class, byte, nocase);
            (!found, rest)
        }
        [b'[', class @ ..] => in_class(class, byte, nocase),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (same(*literal, byte, nocase), rest),
    };
    accepted.then_some(rest)
}

/// Whether a class, whose `[` or `[^` has been read, lists `byte`; and what follows its `]`.
fn in_class(class: &[u8], byte: u8, nocase: bool) -> (bool, &[u8]) {
    let mut class = class;
    let mut found = false;
    loop {
        class = match class {
            [] => return (found, class),
            // An escaped member is compared as it is, with `nocase` too.
            [b'\\', literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
            [b']', rest @ ..] => return (found, rest),
            [first, b'-', last, rest @ ..] => {
                found |= in_range((*first).min(*last), (*first).max(*last), byte, nocase);
                rest
            }
            [literal, rest @ ..] => {
                found |= same(*literal, byte, nocase);
                rest
            }
        }
    }
}

#[inline]
fn in_range(first: u8, last: u8, byte: u8, nocase: bool) -> bool {
    if nocase {
        (first.to_ascii_lowercase()..=last.to_ascii_lowercase()).contains(&byte.to_ascii_lowercase())
    } else {
        (first..=last).contains(&byte)
    }
}

#[inline]
fn same(a: u8, b: u8, nocase: bool) -> bool {
    if nocase { a.eq_ignore_ascii_case(&b) } else { a == b }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::matches;

    #[test]
    fn patterns_fit_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "foo", true),
            ("f?o", "foo", true),
            ("f?o", "fo", false),
            ("foo*", "foo", true),
            ("*foo*bar*", "a foo and a bar", true),
            ("*aab", "aaaab", true),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("[a", "a", true),
            ("[^", "x", true),
            ("[", "[", false),
            ("[a-]", "]", true),
            ("a\\", "a\\", true),
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("a*?", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn case_is_ignored_on_request_except_for_escaped_members() {
        for (pattern, text, expected) in
            [("HeLLo", "hEllO", true), ("[A-C]x", "bX", true), ("[\\B]", "b", false), ("\\B", "b", true)]
        {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), true), expected, "{pattern} {text}");
        }
        assert!(!matches(b"a", b"A", false));
    }

    #[test]
    fn a_pattern_made_of_stars_ends_soon() {
        let pattern = [b"a*".repeat(20_000), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &b"a".repeat(20_000), false));
    }

    /// The definition, by recursion.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                by_definition(rest, text) || (!text.is_empty() && by_definition(pattern, &text[1..]))
            }
            (_, []) => false,
            (_, [byte, rest @ ..]) => {
                super::fits(pattern, *byte, false).is_some_and(|after| by_definition(after, rest))
            }
        }
    }

    proptest! {
        #[test]
        fn going_back_to_the_last_star_is_enough(pattern in "[ab*?]{0,8}", text in "[ab]{1,10}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), false),
                by_definition(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn no_pattern_panics(
            pattern in prop::collection::vec(prop::sample::select(b"[]^-\\*?ab\xff".to_vec()), 0..12),
            text in prop::collection::vec(prop::sample::select(b"[]-\\ab\xff".to_vec()), 0..8),
            nocase: bool,
        ) {
            matches(&pattern, &text, nocase);
        }
    }
}
