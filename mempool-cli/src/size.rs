//! Sizes as a user writes them: `512MiB`, `75%`, `auto`. Knows no machine: what a share is a share of is asked of the caller.

use std::{fmt, str::FromStr};

/// The units that are understood, largest first. Only binary ones: `MB` and `m` mean different things to different people.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// An amount of memory as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// So many bytes, never 0.
    Bytes(u64),
    /// A share of the memory that the program may use, 1 to 100.
    Percent(u8),
    /// Half of the memory that the program may use.
    Auto,
}

/// A limit that need not be there: `none`, or an amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    Of(Size),
}

impl Limit {
    /// The limit in bytes, if there is one; `memory_bytes` as for [`Size::resolve`].
    ///
    /// # Errors
    /// What `memory_bytes` answers when it cannot say.
    pub(crate) fn resolve<E>(
        self,
        memory_bytes: impl FnOnce() -> Result<u64, E>,
    ) -> Result<Option<u64>, E> {
        match self {
            Self::None => Ok(None),
            Self::Of(size) => size.resolve(memory_bytes).map(Some),
        }
    }
}

impl FromStr for Limit {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        match text.trim() {
            "none" => Ok(Self::None),
            size => size.parse().map(Self::Of),
        }
    }
}

impl Size {
    /// The share that `auto` is.
    pub(crate) const AUTO_PERCENT: u8 = 50;

    /// The size in bytes; `memory_bytes` is asked for what the program may use, and only if the size is a share of it.
    ///
    /// # Errors
    /// What `memory_bytes` answers when it cannot say.
    pub(crate) fn resolve<E>(
        self,
        memory_bytes: impl FnOnce() -> Result<u64, E>,
    ) -> Result<u64, E> {
        let percent = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Percent(percent) => percent,
            Self::Auto => Self::AUTO_PERCENT,
        };
        // Divided first: a share of a size close to u64::MAX must not overflow, and less than 100 bytes do not matter.
        Ok(memory_bytes()? / 100 * u64::from(percent))
    }
}

/// Why a text is no size. The message ends with what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SizeError {
    /// No number, or a unit that is not understood.
    #[error("`{text}` is not a size; {}", suggestion(text))]
    Unknown {
        /// What was written.
        text: String,
    },
    /// Zero bytes or zero percent.
    #[error("`{text}` is nothing at all; write how much may be used, such as 256MiB")]
    Zero {
        /// What was written.
        text: String,
    },
    /// More than 100 percent.
    #[error(
        "`{text}` is more than there is; write a share from 1% to 100%, or a size such as 256MiB"
    )]
    TooMuch {
        /// What was written.
        text: String,
    },
    /// More bytes than a u64 counts.
    #[error("`{text}` is larger than any memory (the largest size is 16777215TiB)")]
    TooLarge {
        /// What was written.
        text: String,
    },
    /// A fraction of a byte.
    #[error(
        "`{text}` is not a whole number of bytes; write it in a smaller unit, such as 1536KiB for 1.5MiB"
    )]
    Fraction {
        /// What was written.
        text: String,
    },
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if let Some(number) = text.strip_suffix('%') {
            return parse_percent(text, number.trim_end());
        }
        let unit = UNITS
            .iter()
            .find_map(|(name, bytes)| Some((text.strip_suffix(name)?.trim_end(), *bytes)));
        let (number, unit_bytes) = unit.ok_or_else(|| SizeError::Unknown { text: text.into() })?;
        parse_bytes(text, number, unit_bytes).map(Self::Bytes)
    }
}

fn parse_percent(text: &str, number: &str) -> Result<Size, SizeError> {
    let text = || text.to_owned();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SizeError::Unknown { text: text() });
    }
    match number.parse::<u8>() {
        Ok(0) => Err(SizeError::Zero { text: text() }),
        Ok(percent @ 1..=100) => Ok(Size::Percent(percent)),
        _ => Err(SizeError::TooMuch { text: text() }),
    }
}

/// `number` units of `unit_bytes`, exactly: `1.5` of a MiB is 1,572,864 bytes, and a third of a byte is refused.
fn parse_bytes(text: &str, number: &str, unit_bytes: u64) -> Result<u64, SizeError> {
    let unknown = || SizeError::Unknown { text: text.into() };
    let too_large = || SizeError::TooLarge { text: text.into() };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !digits(whole)
        || !digits(fraction)
        || number.ends_with('.')
        || fraction.len() > 18
    {
        return Err(unknown());
    }
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut bytes = whole.checked_mul(unit_bytes).ok_or_else(too_large)?;
    if !fraction.is_empty() {
        let denominator = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| unknown())?);
        let numerator = fraction.parse::<u128>().map_err(|_| unknown())? * u128::from(unit_bytes);
        if numerator % denominator != 0 {
            return Err(SizeError::Fraction { text: text.into() });
        }
        let part = u64::try_from(numerator / denominator).map_err(|_| too_large())?;
        bytes = bytes.checked_add(part).ok_or_else(too_large)?;
    }
    if bytes == 0 {
        return Err(SizeError::Zero { text: text.into() });
    }
    Ok(bytes)
}

/// What the writer of `text` may have meant. A guess is only offered: `512m` could be a typing error for something else.
fn suggestion(text: &str) -> String {
    let general = "write it as 512MiB, 75% or auto".to_owned();
    let letters = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(letters);
    if text.eq_ignore_ascii_case("auto") {
        return "did you mean auto?".into();
    }
    if number.parse::<f64>().is_err() {
        return general;
    }
    match unit.trim().to_ascii_lowercase().as_str() {
        "" => format!("did you mean {number}MiB, or {number}B?"),
        "b" | "byte" | "bytes" => format!("did you mean {number}B?"),
        "k" | "kb" | "kib" => format!("did you mean {number}KiB?"),
        "m" | "mb" | "mib" => format!("did you mean {number}MiB?"),
        "g" | "gb" | "gib" => format!("did you mean {number}GiB?"),
        "t" | "tb" | "tib" => format!("did you mean {number}TiB?"),
        "percent" | "pct" => format!("did you mean {number}%?"),
        _ => general,
    }
}

/// Bytes for people to read: `872.4 MiB`, one decimal, in the largest unit that leaves a whole part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit_bytes) =
            UNITS.into_iter().find(|(_, unit_bytes)| self.0 >= *unit_bytes).unwrap_or(("B", 1));
        if unit_bytes == 1 {
            return f.pad(&format!("{} B", self.0));
        }
        // Tenths, rounded, in integers: a figure on a proof card is not left to floating point.
        let tenths =
            (u128::from(self.0) * 10 + u128::from(unit_bytes) / 2) / u128::from(unit_bytes);
        f.pad(&format!("{}.{} {name}", tenths / 10, tenths % 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_may_be_none() {
        assert_eq!("none".parse(), Ok(Limit::None));
        assert_eq!("64MiB".parse(), Ok(Limit::Of(Size::Bytes(64 << 20))));
        assert!("0B".parse::<Limit>().is_err());
        assert_eq!(Limit::None.resolve(|| Err("never asked")), Ok(None));
        assert_eq!(Limit::Of(Size::Percent(50)).resolve(|| Ok::<_, ()>(1000)), Ok(Some(500)));
    }

    fn bytes(text: &str) -> u64 {
        match text.parse() {
            Ok(Size::Bytes(bytes)) => bytes,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn sizes_are_read_exactly() {
        assert_eq!(bytes("512MiB"), 512 << 20);
        assert_eq!(bytes(" 1 GiB "), 1 << 30);
        assert_eq!(bytes("1.5KiB"), 1536);
        assert_eq!(bytes("0.0009765625KiB"), 1);
        assert_eq!(bytes("7B"), 7);
        assert_eq!(bytes("16777215TiB"), 16_777_215 << 40);
        assert_eq!("75%".parse(), Ok(Size::Percent(75)));
        assert_eq!("100 %".parse(), Ok(Size::Percent(100)));
        assert_eq!("auto".parse(), Ok(Size::Auto));
    }

    #[test]
    fn an_ambiguous_unit_is_refused_with_a_suggestion() {
        for (text, meant) in [
            ("512m", "did you mean 512MiB?"),
            ("512MB", "did you mean 512MiB?"),
            ("512mib", "did you mean 512MiB?"),
            ("1.5g", "did you mean 1.5GiB?"),
            ("64 k", "did you mean 64KiB?"),
            ("512", "did you mean 512MiB, or 512B?"),
            ("50percent", "did you mean 50%?"),
            ("AUTO", "did you mean auto?"),
            ("much", "write it as 512MiB, 75% or auto"),
            ("", "write it as 512MiB, 75% or auto"),
            ("-5MiB", "write it as 512MiB, 75% or auto"),
            ("1..5MiB", "write it as 512MiB, 75% or auto"),
        ] {
            let error = text.parse::<Size>().unwrap_err();
            assert_eq!(error, SizeError::Unknown { text: text.into() });
            assert!(error.to_string().ends_with(meant), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_that_make_no_sense_say_why() {
        assert!(matches!("0MiB".parse::<Size>(), Err(SizeError::Zero { .. })));
        assert!(matches!("0%".parse::<Size>(), Err(SizeError::Zero { .. })));
        assert!(matches!("101%".parse::<Size>(), Err(SizeError::TooMuch { .. })));
        assert!(matches!("16777216TiB".parse::<Size>(), Err(SizeError::TooLarge { .. })));
        assert!(matches!("99999999999999999999B".parse::<Size>(), Err(SizeError::TooLarge { .. })));
        assert!(matches!("1.5B".parse::<Size>(), Err(SizeError::Fraction { .. })));
        assert!(matches!("0.1KiB".parse::<Size>(), Err(SizeError::Fraction { .. })));
    }

    #[test]
    fn only_a_share_asks_for_the_memory() {
        assert_eq!(Size::Bytes(5).resolve(|| Err("not asked")), Ok(5));
        assert_eq!(Size::Percent(75).resolve(|| Ok::<_, ()>(1000)), Ok(750));
        assert_eq!(Size::Auto.resolve(|| Ok::<_, ()>(1000)), Ok(500));
        assert_eq!(Size::Percent(100).resolve(|| Ok::<_, ()>(u64::MAX)), Ok(u64::MAX / 100 * 100));
        assert_eq!(Size::Auto.resolve(|| Err("no /proc")), Err("no /proc"));
    }

    #[test]
    fn bytes_are_printed_with_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (256 << 20, "256.0 MiB"),
            ((1 << 20) * 3 / 2, "1.5 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
