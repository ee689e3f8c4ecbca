//! Reads the JSON that cargo prints and quotes text for the JSON that we print. No numbers beyond `f64`, no streaming.

use std::collections::BTreeMap;

/// Cargo nests about ten deep; a limit keeps damaged input from overflowing the stack.
const DEPTH_MAX: usize = 64;

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

impl Json {
    /// Parses one whole document.
    ///
    /// # Errors
    /// A sentence with the byte offset of the first thing that is not JSON.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.at == reader.bytes.len() {
            Ok(value)
        } else {
            Err(reader.fault("the end of the text"))
        }
    }

    /// The member called `key`, or `Null` where there is none or this is no map.
    pub(crate) fn get(&self, key: &str) -> &Json {
        match self {
            Json::Map(map) => map.get(key).unwrap_or(&Json::Null),
            _ => &Json::Null,
        }
    }

    /// The text, if this is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, none if this is no list.
    pub(crate) fn list(&self) -> &[Json] {
        match self {
            Json::List(list) => list,
            _ => &[],
        }
    }

    /// The keys in order, none if this is no map.
    pub(crate) fn keys(&self) -> Vec<&str> {
        match self {
            Json::Map(map) => map.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// `text` as a JSON string with its quotes.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if u32::from(control) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)))
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err(self.fault("less nesting"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Json, String> {
        let mut map = BTreeMap::new();
        self.expect(b'{')?;
        if self.skip_if(b'}') {
            return Ok(Json::Map(map));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.expect(b':')?;
            map.insert(key, self.value(depth + 1)?);
            if !self.skip_if(b',') {
                self.expect(b'}')?;
                return Ok(Json::Map(map));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, String> {
        let mut list = Vec::new();
        self.expect(b'[')?;
        if self.skip_if(b']') {
            return Ok(Json::List(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            if !self.skip_if(b',') {
                self.expect(b']')?;
                return Ok(Json::List(list));
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            let byte = self.peek().ok_or_else(|| self.fault("the end of a string"))?;
            self.at += 1;
            match byte {
                b'"' => return String::from_utf8(text).map_err(|_| self.fault("UTF-8")),
                b'\\' => text.extend_from_slice(self.escape()?.to_string().as_bytes()),
                plain => text.push(plain),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let byte = self.peek().ok_or_else(|| self.fault("an escape"))?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' => Ok(char::from(byte)),
            b'n' => Ok('\n'),
            b't' => Ok('\t'),
            b'r' => Ok('\r'),
            b'b' => Ok('\u{8}'),
            b'f' => Ok('\u{c}'),
            b'u' => self.unicode(),
            _ => Err(self.fault("an escape")),
        }
    }

    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex4()?;
        // A letter outside the basic plane comes as two escapes.
        let code = if (0xD800..0xDC00).contains(&first) {
            if !(self.bytes[self.at..].starts_with(b"\\u")) {
                return Err(self.fault("the second half of a surrogate pair"));
            }
            self.at += 2;
            let second = self.hex4()?;
            0x1_0000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.fault("a Unicode letter"))
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self
            .bytes
            .get(self.at..self.at + 4)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.fault("four hexadecimal digits"))
    }

    fn number(&mut self) -> Result<Json, String> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        digits.parse().map(Json::Number).map_err(|_| self.fault("a value"))
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fault(word));
        }
        self.at += word.len();
        Ok(value)
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.skip_if(byte) {
            Ok(())
        } else {
            Err(self.fault(&format!("`{}`", char::from(byte))))
        }
    }

    fn skip_if(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, wanted: &str) -> String {
        format!("JSON: {wanted} was expected at byte {}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_prints() {
        let json = Json::parse(
            r#" {"a":[1,-2.5e3,true,null],"b":{"c":"x\n\"\u00e9\ud83d\ude00"}, "d":[], "e":{}} "#,
        )
        .unwrap();
        assert_eq!(json.get("a").list()[1], Json::Number(-2500.0));
        assert_eq!(json.get("a").list()[2], Json::Bool(true));
        assert_eq!(json.get("b").get("c").text(), Some("x\n\"é😀"));
        assert_eq!(json.keys(), ["a", "b", "d", "e"]);
        assert_eq!(json.get("missing"), &Json::Null);
    }

    #[test]
    fn refuses_what_is_not_json() {
        for bad in
            ["", "{", "[1,]", "{\"a\" 1}", "\"open", "nul", "1 2", "\"\\ud83dx\"", "\"\\u12\""]
        {
            assert!(Json::parse(bad).is_err(), "{bad}");
        }
        let deep = "[".repeat(100_000);
        assert!(Json::parse(&deep).unwrap_err().contains("nesting"));
    }

    #[test]
    fn what_is_quoted_reads_back() {
        let text = "a \"b\" \\ c\n\u{1} é";
        assert_eq!(Json::parse(&quote(text)).unwrap().text(), Some(text));
    }
}
