//! Lists of values and of parameters: the two repetitions that most header fields are made of.

use crate::bytes::{LWS, head, is, quoted_end, same, skip_lws, split_comma, tail, trim, unquote};
use std::borrow::Cow;

/// The values of a comma-separated header value, commas in quotes and angle brackets apart. Empty elements
/// are passed over.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Values<'a> {
    /// The values of one header value.
    #[inline]
    pub fn new(value: &'a [u8]) -> Values<'a> {
        Values { rest: Some(value) }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(rest) = self.rest {
            let (first, after) = split_comma(rest);
            self.rest = after;
            let first = trim(first);
            if !first.is_empty() {
                return Some(first);
            }
        }
        None
    }
}

/// One parameter: `;name` or `;name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as written; compare without case.
    pub name: &'a [u8],
    /// What stands after the `=`, with its quotes if it has any; `None` when there is no `=`.
    pub value: Option<&'a [u8]>,
}

impl<'a> Param<'a> {
    /// The value without quotes and back-slashes; empty when there is none.
    pub fn unquoted(&self) -> Cow<'a, [u8]> {
        unquote(self.value.unwrap_or_default())
    }
}

/// The parameters of a header value, with white space and folds around `;` and `=` and quoted values, as
/// RFC 3261 §7.3.1 allows them. Empty ones (`;;`) are passed over, as is what follows a value up to the next
/// `;`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// The parameters in `bytes`, which begin with the first `;`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Params<'a> {
        Params { rest: bytes }
    }

    /// All of them as they were written, from the first `;` on.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// The first parameter of this name, in any case.
    #[inline]
    pub fn get(self, name: &[u8]) -> Option<Param<'a>> {
        let mut all = self;
        all.find(|param| same(name, param.name))
    }

    /// The value of the first parameter of this name; `None` too when it has no value.
    #[inline]
    pub fn value(self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name)?.value
    }

    /// Whether there is a parameter of this name, with or without a value.
    #[inline]
    pub fn has(self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    #[inline]
    fn next(&mut self) -> Option<Param<'a>> {
        loop {
            let rest = skip_lws(self.rest);
            let [b';', rest @ ..] = rest else {
                let next = memchr::memchr(b';', rest)?;
                self.rest = tail(rest, next);
                continue;
            };
            let rest = skip_lws(rest);
            let length =
                rest.iter().position(|&b| b == b';' || b == b'=' || is(b, LWS)).unwrap_or(rest.len());
            let name = head(rest, length);
            let after = skip_lws(tail(rest, length));
            let [b'=', after @ ..] = after else {
                self.rest = after;
                if name.is_empty() {
                    continue;
                }
                return Some(Param { name, value: None });
            };
            let after = skip_lws(after);
            let length = value_length(after);
            self.rest = tail(after, length);
            return Some(Param { name, value: Some(head(after, length)) });
        }
    }
}

/// A quoted string, or what stands before the next `;` or blank.
#[inline]
fn value_length(bytes: &[u8]) -> usize {
    if bytes.first() == Some(&b'"')
        && let Some(end) = quoted_end(bytes, 0)
    {
        return end;
    }
    bytes.iter().position(|&b| b == b';' || is(b, LWS)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_folds_quotes() {
        let text = b" ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33;;x=\"a;\\\"b\";y=";
        let all: Vec<_> = Params::new(text).collect();
        assert_eq!(all.len(), 5);
        assert_eq!(all[0], Param { name: b"newparam", value: Some(b"newvalue") });
        assert_eq!(all[1], Param { name: b"secondparam", value: None });
        assert_eq!(all[2], Param { name: b"q", value: Some(b"0.33") });
        assert_eq!(&*all[3].unquoted(), b"a;\"b");
        assert_eq!(all[4], Param { name: b"y", value: Some(b"") });
        assert!(Params::new(text).has(b"SECONDPARAM"));
    }

    #[test]
    fn values_of_a_list() {
        let all: Vec<_> = Values::new(b"a;x=\",\" , , \"b,\" <sip:c,d>,").collect();
        assert_eq!(all, [&b"a;x=\",\""[..], b"\"b,\" <sip:c,d>"]);
    }
}
