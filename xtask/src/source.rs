//! Takes a Rust file apart into code and comments, line by line, so that a rule about one is not fooled by the other.
//! A lexer of a few shapes only: comments, strings, characters. It never fails; a file that does not compile is
//! another tool's finding.

/// A file's lines twice: once with only the code, once with only the comments. Texts of strings are in neither.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) code: Vec<String>,
    pub(crate) comments: Vec<String>,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let mut splitter = Splitter {
            text: text.chars().collect(),
            at: 0,
            code: String::new(),
            comments: String::new(),
        };
        splitter.split();
        let lines = |text: &str| text.split('\n').map(str::to_owned).collect();
        Self { code: lines(&splitter.code), comments: lines(&splitter.comments) }
    }
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    count_word(line, word) > 0
}

/// How often `word` stands in `line` by itself.
pub(crate) fn count_word(line: &str, word: &str) -> usize {
    let part_of_name = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    line.match_indices(word)
        .filter(|&(at, _)| {
            !part_of_name(line[..at].chars().next_back())
                && !part_of_name(line[at + word.len()..].chars().next())
        })
        .count()
}

struct Splitter {
    text: Vec<char>,
    at: usize,
    code: String,
    comments: String,
}

impl Splitter {
    fn split(&mut self) {
        while let Some(letter) = self.peek(0) {
            match letter {
                '/' if self.peek(1) == Some('/') => self.line_comment(),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                'r' if self.raw_hashes().is_some() && !self.inside_name() => self.raw_string(),
                '\'' => self.quote(),
                _ => self.take_code(),
            }
        }
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|letter| letter != '\n') {
            self.take_comment();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.peek(0).is_some() {
            let pair = (self.peek(0), self.peek(1));
            if pair == (Some('/'), Some('*')) {
                depth += 1;
                self.take_comment();
            } else if pair == (Some('*'), Some('/')) {
                depth -= 1;
                self.take_comment();
            }
            self.take_comment();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take_code();
        while let Some(letter) = self.peek(0) {
            match letter {
                '"' => return self.take_code(),
                '\\' => {
                    self.drop();
                    self.drop();
                }
                _ => self.drop(),
            }
        }
    }

    /// The number of `#` between an `r` here and its quote, if a raw string starts here.
    fn raw_hashes(&self) -> Option<usize> {
        let hashes = (1..).take_while(|&offset| self.peek(offset) == Some('#')).count();
        (self.peek(hashes + 1) == Some('"')).then_some(hashes)
    }

    /// Whether the letter here goes on with a name: `br"…"` and `cr"…"` are the only prefixes before an `r`.
    fn inside_name(&self) -> bool {
        let name: String = self
            .code
            .chars()
            .rev()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect();
        !matches!(name.as_str(), "" | "b" | "c")
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_hashes().unwrap_or(0);
        (0..hashes + 2).for_each(|_| self.take_code());
        while self.peek(0).is_some() {
            let closes = self.peek(0) == Some('"')
                && (1..=hashes).all(|offset| self.peek(offset) == Some('#'));
            if closes {
                return (0..=hashes).for_each(|_| self.take_code());
            }
            self.drop();
        }
    }

    /// A character, or the tick of a lifetime.
    fn quote(&mut self) {
        if self.peek(1) == Some('\\') {
            self.take_code();
            self.drop();
            self.drop();
            while self.peek(0).is_some_and(|letter| letter != '\'') {
                self.drop();
            }
            self.take_code();
        } else if self.peek(2) == Some('\'') {
            self.take_code();
            self.drop();
            self.take_code();
        } else {
            self.take_code();
        }
    }

    fn peek(&self, offset: usize) -> Option<char> {
        self.text.get(self.at + offset).copied()
    }

    fn take_code(&mut self) {
        self.take(|splitter, letter| splitter.code.push(letter));
    }

    fn take_comment(&mut self) {
        self.take(|splitter, letter| splitter.comments.push(letter));
    }

    fn drop(&mut self) {
        self.take(|_, _| {});
    }

    /// Steps over one letter; a line break always goes to both sides so that their lines keep in step.
    fn take(&mut self, keep: impl FnOnce(&mut Self, char)) {
        let Some(letter) = self.peek(0) else { return };
        self.at += 1;
        if letter == '\n' {
            self.code.push('\n');
            self.comments.push('\n');
        } else {
            keep(self, letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::parse(text).code.join("\n")
    }

    #[test]
    fn comments_leave_the_code() {
        let source = Source::parse("a // b\n/* c /* d */ e\nf */ g\n//! h");
        assert_eq!(source.code, ["a ", "", " g", ""]);
        assert_eq!(source.comments, ["// b", "/* c /* d */ e", "f */", "//! h"]);
    }

    #[test]
    fn strings_are_in_neither() {
        assert_eq!(
            code(r#"f("// no", b"x\"y", 'c', '"', '\'', '\u{41}', 'a, "z\\")"#),
            "f(\"\", b\"\", '', '', '', '', 'a, \"\")"
        );
        assert_eq!(
            code("r#\"a \" // b\"# c br\"d\" r#type \"e\nf\""),
            "r#\"\"# c br\"\" r#type \"\n\""
        );
        assert_eq!(code("for\"x\""), "for\"\"");
    }

    #[test]
    fn what_is_left_open_ends_with_the_file() {
        for text in ["\"a", "/* a", "r#\"a\"", "'\\", "'", "r#", "/"] {
            assert_eq!(Source::parse(text).code.len(), 1, "{text}");
        }
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
        assert_eq!(count_word("unsafe{unsafe} not_unsafe", "unsafe"), 2);
    }
}
