//! How openraft's types become bytes: one byte that names the form, then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Cause;

/// The form of everything that the adapter stores: openraft's own serde shapes in postcard.
const FORM: u8 = 1;

pub(crate) fn encode(what: &'static str, value: &impl Serialize) -> Result<Vec<u8>, Cause> {
    postcard::to_extend(value, vec![FORM])
        .map_err(|error| Cause::Unencodable { what, reason: error.to_string() })
}

pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Cause> {
    let undecodable = |reason: String| Cause::Undecodable { what, reason };
    let (form, body) = bytes.split_first().ok_or_else(|| undecodable("it is empty".into()))?;
    if *form != FORM {
        return Err(undecodable(format!("it is of form {form}, and {FORM} is known")));
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(undecodable(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(undecodable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let value = (7_u64, "seven".to_owned(), Some(vec![1_u8, 2]));
        let bytes = encode("a value", &value).expect("plain types");
        assert_eq!(decode::<(u64, String, Option<Vec<u8>>)>("a value", &bytes).ok(), Some(value));
    }

    #[test]
    fn every_prefix_every_longer_and_every_other_form_is_refused() {
        let bytes = encode("a value", &(7_u64, "seven")).expect("plain types");
        let decode = |bytes: &[u8]| decode::<(u64, String)>("a value", bytes);
        for len in 0..bytes.len() {
            assert!(decode(bytes.get(..len).expect("a prefix")).is_err(), "{len}");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        for form in (0..=u8::MAX).filter(|&form| form != FORM) {
            let other: Vec<u8> = [form].into_iter().chain(bytes.iter().skip(1).copied()).collect();
            assert!(decode(&other).is_err(), "{form}");
        }
    }
}
