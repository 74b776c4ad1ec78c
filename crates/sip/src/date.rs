//! The Date header field (RFC 3261 §20.17).

/// As they stand before the day of the month.
const DAYS: [&str; 7] = ["Thu, ", "Fri, ", "Sat, ", "Sun, ", "Mon, ", "Tue, ", "Wed, "];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time, in milliseconds since 1970, as RFC 1123 writes it: `Sat, 13 Nov 2010 23:29:00 GMT`.
pub fn rfc1123(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let days = seconds / 86_400;
    let weekday = DAYS.get((days % 7) as usize).copied().unwrap_or_default();
    let (year, month, day) = civil(days);
    let month = MONTHS.get(month).copied().unwrap_or_default();
    // Every REGISTER is answered with one: digit by digit, without the formatting machinery.
    let digits = |number: u64| [number / 10 % 10, number % 10].map(|digit| char::from(b'0' + digit as u8));
    let mut text = String::with_capacity(29);
    text.push_str(weekday);
    text.extend(digits(day));
    text.extend([" ", month, " "]);
    text.extend(digits(year / 100));
    text.extend(digits(year));
    for (before, number) in [(' ', seconds / 3600 % 24), (':', seconds / 60 % 60), (':', seconds % 60)] {
        text.push(before);
        text.extend(digits(number));
    }
    text.push_str(" GMT");
    text
}

/// Reads what [`rfc1123`] writes, the only form that RFC 3261 §25.1 knows (`SIP-date`); milliseconds since 1970. The
/// day of the week is not looked at.
pub fn parse(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut words = text.split_once(',')?.1.split_ascii_whitespace();
    let number = |text: &str| text.parse::<u64>().ok();
    let day = words.next().and_then(number).filter(|day| (1..=31).contains(day))?;
    let month =
        words.next().and_then(|name| MONTHS.iter().position(|known| known.eq_ignore_ascii_case(name)))?;
    let year = words.next().and_then(number).filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if hour > 23 || minute > 59 || second > 60 || words.next()? != "GMT" {
        return None;
    }
    let years: u64 = (1970..year).map(year_length).sum();
    let days = years + month_lengths(year).iter().take(month).sum::<u64>() + day - 1;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000)
}

/// Year, month from 0, and day from 1 of a day since 1970-01-01, in the Gregorian calendar. Years are counted from March
/// on, so that the day that some lack is their last.
fn civil(days: u64) -> (u64, usize, u64) {
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31 and 30 days in turn, but for two pairs of 31: 153 days for each five.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12;
    (cycle * 400 + year + u64::from(month < 2), month as usize, day)
}

fn month_lengths(year: u64) -> [u64; 12] {
    let february = if year_length(year) == 366 { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

fn year_length(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::{parse, rfc1123};

    /// Values from `date -u -R -d @…`.
    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_289_690_940, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (13_569_465_600, "Sat, 01 Jan 2400 00:00:00 GMT"),
        ] {
            assert_eq!(rfc1123(seconds * 1000 + 999), text);
            assert_eq!(parse(text.as_bytes()), Some(seconds * 1000), "{text}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "Thu, 01 Jan 1970 00:00:00",
            "Thu, 32 Jan 1970 00:00:00 GMT",
            "Thu, 01 Foo 1970 00:00:00 GMT",
            "Thu, 01 Jan 1970 24:00:00 GMT",
            "Thu, 01 Jan 99999 00:00:00 GMT",
            "Thu, 01 Jan 1970 00:00 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
