//! Where a value stands in the tree of HTTP paths: `/v1/values/{birth}/{slot}.{generation}`.

use mempool_core::Id;

use crate::identity::{GlobalId, Incarnation};

/// Where new values are put, and below which all values stand.
pub(crate) const VALUES: &str = "/v1/values";

/// How many digits an incarnation is written with.
const BIRTH_DIGITS: usize = 32;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// All values: new ones are put here.
    Values,
    /// One of them.
    Value(GlobalId),
}

impl Place {
    /// Reads a path; `None` where it leads nowhere. Each value has one path: what [`path_of`] writes, and no other spelling.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix(VALUES)?;
        if rest.is_empty() {
            return Some(Self::Values);
        }
        value(rest.strip_prefix('/')?).map(Self::Value)
    }
}

/// Reads `{birth}/{slot}.{generation}`, in the one spelling that [`GlobalId`] is written with.
pub(crate) fn value(text: &str) -> Option<GlobalId> {
    let (birth, id) = text.split_once('/')?;
    let (slot, generation) = id.split_once('.')?;
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if birth.len() != BIRTH_DIGITS || !birth.bytes().all(hex) {
        return None;
    }
    let birth = Incarnation(u128::from_str_radix(birth, 16).ok()?);
    let id = Id { slot: decimal(slot)?, generation: decimal(generation)? };
    Some(GlobalId { birth, id })
}

/// A number without sign and without zeros in front.
fn decimal(text: &str) -> Option<u32> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| plain)
}

/// The path of a value.
pub(crate) fn path_of(id: GlobalId) -> String {
    format!("{VALUES}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_comes_back_as_the_value_it_was_made_of() {
        for (birth, slot, generation) in [(0, 0, 1), (u128::MAX, u32::MAX, u32::MAX), (7, 10, 2)] {
            let id = GlobalId { birth: Incarnation(birth), id: Id { slot, generation } };
            assert_eq!(Place::of(&path_of(id)), Some(Place::Value(id)));
        }
        assert_eq!(Place::of("/v1/values"), Some(Place::Values));
    }

    #[test]
    fn another_spelling_of_a_path_leads_nowhere() {
        let birth = format!("{:032x}", 0xab);
        for bad in [
            String::new(),
            "/".into(),
            "/v1/values/".into(),
            "/v1/valuesx".into(),
            "/v2/values".into(),
            format!("/v1/values/{birth}"),
            format!("/v1/values/{birth}/"),
            format!("/v1/values/{birth}/1"),
            format!("/v1/values/{birth}/1."),
            format!("/v1/values/{birth}/.1"),
            format!("/v1/values/{birth}/01.1"),
            format!("/v1/values/{birth}/+1.1"),
            format!("/v1/values/{birth}/-1.1"),
            format!("/v1/values/{birth}/1.1.1"),
            format!("/v1/values/{birth}/1.1/"),
            format!("/v1/values/{birth}//1.1"),
            format!("/v1/values/{birth}/4294967296.1"),
            format!("/v1/values/0{birth}/1.1"),
            format!("/v1/values/+{}/1.1", &birth[1..]),
            format!("/v1/values/{}/1.1", birth.to_uppercase()),
            format!("/v1/values/../values/{birth}/1.1"),
        ] {
            assert_eq!(Place::of(&bad), None, "{bad}");
        }
    }
}
