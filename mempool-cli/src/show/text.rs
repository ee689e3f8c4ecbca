//! Values as people and as JSON read them: days, moments, decimals and the like as what they mean.

use mempool_arrays::{Logical, TimeUnit, Value};

/// How a column's numbers are written, and its type.
pub(crate) fn type_text(stored: &str, logical: Logical) -> String {
    let meaning = match logical {
        Logical::None => return stored.to_owned(),
        Logical::Date | Logical::DateMillis => "date".to_owned(),
        Logical::Timestamp { unit, utc } => {
            format!("timestamp in {}{}", unit_text(unit), if utc { ", UTC" } else { "" })
        }
        Logical::Time(unit) => format!("time in {}", unit_text(unit)),
        Logical::Duration(unit) => format!("duration in {}", unit_text(unit)),
        Logical::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        _ => "of another meaning".to_owned(),
    };
    format!("{stored} ({meaning})")
}

fn unit_text(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "µs",
        TimeUnit::Nanosecond => "ns",
    }
}

/// Digits behind the point of a second.
fn digits(unit: TimeUnit) -> u32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// A value for people.
pub(crate) fn text(value: &Value<'_>, logical: Logical) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(number) => integer(*number, logical),
        // The shortest digits that read back as the same number, whatever its size.
        Value::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}

/// A value for programs: a number is one where JSON's are as exact.
pub(crate) fn json(value: &Value<'_>, logical: Logical) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(bit) => (*bit).into(),
        Value::Int(number) if logical == Logical::None => match i64::try_from(*number) {
            Ok(number) => number.into(),
            Err(_) => number.to_string().into(),
        },
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Text(text) => (*text).into(),
        other => text(other, logical).into(),
    }
}

fn integer(number: i128, logical: Logical) -> String {
    match logical {
        Logical::Date => date(number),
        Logical::DateMillis => date(number.div_euclid(86_400_000)),
        Logical::Timestamp { unit, utc } => {
            let (seconds, fraction) = seconds(number, unit);
            let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
            let zone = if utc { "Z" } else { "" };
            format!("{}T{}{fraction}{zone}", date(days), clock(second))
        }
        Logical::Time(unit) if number >= 0 => {
            let (seconds, fraction) = seconds(number, unit);
            format!("{}{fraction}", clock(seconds))
        }
        Logical::Duration(unit) => format!("{number} {}", unit_text(unit)),
        Logical::Decimal { scale, .. } => decimal(number, scale),
        _ => number.to_string(),
    }
}

/// Whole seconds, and what is left of them as `.123`, without zeros at its end.
fn seconds(number: i128, unit: TimeUnit) -> (i128, String) {
    let digits = digits(unit);
    let scale = 10_i128.pow(digits);
    let (whole, rest) = (number.div_euclid(scale), number.rem_euclid(scale));
    let fraction = format!("{rest:0width$}", width = digits as usize);
    let fraction = fraction.trim_end_matches('0');
    (whole, if fraction.is_empty() { String::new() } else { format!(".{fraction}") })
}

/// `HH:MM:SS`.
fn clock(second: i128) -> String {
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `YYYY-MM-DD` for a number of days since 1970-01-01, by the calendar that everybody has now.
fn date(days: i128) -> String {
    // A day so far away that its year has no meaning is a number.
    if days.unsigned_abs() > 1 << 64 {
        return format!("day {days}");
    }
    // Years begin with March, and 146,097 days are 400 years.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i128::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// An integer divided by a power of ten.
fn decimal(number: i128, scale: i8) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let digits = number.unsigned_abs().to_string();
    match usize::try_from(scale) {
        Ok(0) => number.to_string(),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        Err(_) if number == 0 => "0".to_owned(),
        Err(_) => format!("{sign}{digits}{}", "0".repeat(scale.unsigned_abs().into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(number: i128, logical: Logical) -> String {
        text(&Value::Int(number), logical)
    }

    #[test]
    fn days_and_moments_are_dates() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (-719_528, "0000-01-01"),
            (2_932_896, "9999-12-31"),
        ] {
            assert_eq!(shown(days, Logical::Date), text);
            assert_eq!(shown(days * 86_400_000 + 5, Logical::DateMillis), text);
        }
        let unit = TimeUnit::Microsecond;
        let moment = |utc| Logical::Timestamp { unit, utc };
        assert_eq!(shown(-1, moment(false)), "1969-12-31T23:59:59.999999");
        assert_eq!(shown(500_000, moment(true)), "1970-01-01T00:00:00.5Z");
        assert_eq!(shown(3_600_000, Logical::Time(TimeUnit::Millisecond)), "01:00:00");
        assert_eq!(shown(7, Logical::Duration(TimeUnit::Second)), "7 s");
        // What no calendar has does not end the program.
        for logical in [Logical::Date, Logical::DateMillis, moment(true), Logical::Time(unit)] {
            assert!(!shown(i128::MAX, logical).is_empty() && !shown(i128::MIN, logical).is_empty());
        }
    }

    #[test]
    fn decimals_have_their_point() {
        let decimal = |scale| Logical::Decimal { precision: 38, scale };
        assert_eq!(shown(12_345, decimal(2)), "123.45");
        assert_eq!(shown(-5, decimal(2)), "-0.05");
        assert_eq!(shown(7, decimal(0)), "7");
        assert_eq!(shown(-7, decimal(-2)), "-700");
        assert_eq!(shown(0, decimal(-2)), "0");
        assert_eq!(shown(i128::MIN, decimal(127)).len(), 2 + 1 + 127);
    }

    #[test]
    fn json_is_exact() {
        let number = |number| json(&Value::Int(number), Logical::None);
        assert_eq!(number(-5), serde_json::json!(-5));
        assert_eq!(number(i128::MAX), serde_json::json!(i128::MAX.to_string()));
        assert_eq!(json(&Value::Float(f64::NAN), Logical::None), "NaN");
        assert_eq!(json(&Value::Float(0.5), Logical::None), 0.5);
        assert_eq!(json(&Value::Int(0), Logical::Date), "1970-01-01");
        assert_eq!(json(&Value::Null, Logical::Date), serde_json::Value::Null);
    }
}
