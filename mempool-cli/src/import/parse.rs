//! What a text means as a number, a truth value, a day or a moment. A text that would not be printed the same way again as the integer or the day that it
//! looks like is none: `007` and `+7` stay text.

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// A whole number in its plain form.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_plain { text.parse().ok() } else { None }
}

/// A number with a point or an exponent, or a whole one that a float holds exactly. `NaN` and `inf` are numbers, too.
pub(crate) fn float(text: &str) -> Option<f64> {
    if matches!(text, "NaN" | "nan" | "inf" | "-inf" | "Inf" | "-Inf") {
        return text.parse().ok();
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = digits(unsigned);
    if whole.is_empty() || whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    let is_number = match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let (exponent, rest) = digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
            !exponent.is_empty() && rest.is_empty()
        }
    };
    let number: f64 = if is_number { text.parse().ok()? } else { return None };
    // 2^53: whole numbers beyond it become one another.
    let is_whole = fraction.is_empty() && rest.is_empty();
    let is_exact = !is_whole || number.abs() < 9_007_199_254_740_992.0;
    (number.is_finite() && is_exact).then_some(number)
}

/// The digits that a text begins with, and what follows.
fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// `true` or `false`, in one of three ways of writing them.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A day as `YYYY-MM-DD`, in days since 1970-01-01.
pub(crate) fn date(text: &str) -> Option<i32> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=month_days).contains(&day) {
        return None;
    }
    // Years begin with March, so that the day that comes and goes is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 153 + 2) / 5
        + day
        - 719_469;
    i32::try_from(days).ok()
}

/// A moment as `YYYY-MM-DD HH:MM:SS`, with a `T` in the middle or up to six digits of a fraction behind it: microseconds since 1970, and whether a `Z` says that it is UTC.
pub(crate) fn moment(text: &str) -> Option<(i64, bool)> {
    let (day, time) = text.split_at_checked(10)?;
    let days = i64::from(date(day)?);
    let (time, utc) = match time.strip_suffix('Z') {
        Some(time) => (time, true),
        None => (time, false),
    };
    let (time, fraction) = match time.split_once('.') {
        Some((_, fraction)) if fraction.is_empty() || fraction.len() > 6 => return None,
        Some((time, fraction)) => (time, fraction),
        None => (time, ""),
    };
    let &[b' ' | b'T', h1, h2, b':', m1, m2, b':', s1, s2] = time.as_bytes() else { return None };
    let (hours, minutes, seconds) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let scale = 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
    let micros = number(fraction.as_bytes())? * scale;
    Some(((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * SECOND + micros, utc))
}

/// Digits alone, few enough for an `i64`; none at all are 0.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_those_that_print_the_same_way() {
        for number in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(integer(&number.to_string()), Some(number));
        }
        for text in ["", "-", "-0", "007", "+7", "1.0", " 1", "1_000", "9223372036854775808"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn floats_lose_no_whole_number() {
        for (text, number) in [("1.5", 1.5), ("-0.25", -0.25), ("1e3", 1e3), ("7", 7.0)] {
            assert_eq!(float(text), Some(number), "{text}");
        }
        assert!(float("NaN").unwrap().is_nan());
        for text in ["", ".5", "5.5.5", "00.5", "1e", "1e999", "9007199254740993", "12a", "--1"] {
            assert_eq!(float(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_counted_from_1970() {
        let days = [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2026-11-25", 20_782),
            ("0000-01-01", -719_528),
            ("9999-12-31", 2_932_896),
        ];
        for (text, day) in days {
            assert_eq!(date(text), Some(day), "{text}");
        }
        for text in
            ["2001-02-29", "1900-02-29", "2000-13-01", "2000-00-01", "2000-1-01", "2000-04-31"]
        {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn moments_have_microseconds_and_may_be_utc() {
        assert_eq!(moment("1970-01-01 00:00:01"), Some((SECOND, false)));
        assert_eq!(moment("1970-01-02T00:00:00.5Z"), Some((86_400 * SECOND + 500_000, true)));
        assert_eq!(moment("1969-12-31T23:59:59.999999"), Some((-1, false)));
        for text in
            ["1970-01-01", "1970-01-01 24:00:00", "1970-01-01 00:00:00.", "1970-01-01 00:00"]
        {
            assert_eq!(moment(text), None, "{text}");
        }
        assert_eq!(moment("1970-01-01 00:00:00.1234567"), None);
    }
}
