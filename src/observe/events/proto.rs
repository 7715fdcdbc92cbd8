//! The part of protobuf's wire format that events need.
//!
//! Callers must add fields in ascending order of their numbers. The encoded bytes are then the same
//! as those of protobuf's own libraries.

/// A message that is being encoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

// The wire types of protobuf. A wire type names the encoding of a field's value.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

impl Message {
    /// Adds an integer. As in proto3, 0 is omitted.
    pub(super) fn integer(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.key(field, VARINT);
            self.varint(value);
        }
        self
    }

    /// Adds a double. As in proto3, 0 is omitted.
    pub(super) fn double(mut self, field: u32, value: f64) -> Self {
        if value.to_bits() != 0 {
            self.key(field, FIXED_64);
            self.0.extend(value.to_le_bytes());
        }
        self
    }

    /// Adds a float that belongs to a `oneof`. The field is written even if the value is 0.
    pub(super) fn present_float(mut self, field: u32, value: f32) -> Self {
        self.key(field, FIXED_32);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds bytes, a string or an encoded message. The field is written even if the value is empty.
    pub(super) fn present_bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    /// Adds a message. The field is written even if the message is empty.
    pub(super) fn message(self, field: u32, message: &Self) -> Self {
        self.present_bytes(field, &message.0)
    }

    /// Adds packed doubles. An empty list is omitted.
    pub(super) fn doubles(self, field: u32, values: &[f64]) -> Self {
        if values.is_empty() {
            return self;
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.present_bytes(field, &bytes)
    }

    /// Returns the encoded message.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn key(&mut self, field: u32, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    /// Encodes an integer with seven bits per byte, lowest bits first. All bytes except the last
    /// byte have their top bit set.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A decoded field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    /// An integer.
    Integer(u64),
    /// A double.
    Double(f64),
    /// Bytes, a string or an encoded message.
    Bytes(&'a [u8]),
    /// A float.
    Float(f32),
}

/// Returns the fields of a message, each with its number, up to the first invalid field.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || next_field(&mut rest))
}

/// Returns the values in a `Summary` whose tag is `tag`.
pub(super) fn values_of<'a>(summary: &'a [u8], tag: &str) -> impl Iterator<Item = &'a [u8]> {
    let bytes = fields(summary).filter_map(|(_, field)| match field {
        Field::Bytes(bytes) => Some(bytes),
        _ => None,
    });
    bytes.filter(move |value| bytes_of(value, 1) == Some(tag.as_bytes()))
}

/// Returns the bytes of a field of a message.
pub(super) fn bytes_of(message: &[u8], wanted: u64) -> Option<&[u8]> {
    fields(message).find_map(|(number, field)| match field {
        Field::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = next_varint(rest)?;
    let field = match key & 7 {
        VARINT => Field::Integer(next_varint(rest)?),
        FIXED_64 => Field::Double(f64::from_le_bytes(*next_chunk(rest)?)),
        BYTES => {
            let length = next_varint(rest)?.try_into().ok()?;
            let (bytes, behind) = rest.split_at_checked(length)?;
            *rest = behind;
            Field::Bytes(bytes)
        }
        FIXED_32 => Field::Float(f32::from_le_bytes(*next_chunk(rest)?)),
        _ => return None,
    };
    Some((key >> 3, field))
}

fn next_chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (chunk, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(chunk)
}

fn next_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_has_seven_bits_per_byte() {
        let bytes = |value| Message::default().integer(1, value).0[1..].to_vec();
        assert_eq!(bytes(1), [1]);
        assert_eq!(bytes(127), [127]);
        assert_eq!(bytes(128), [128, 1]);
        assert_eq!(bytes(300), [0xac, 2], "the example of protobuf's documentation");
        assert_eq!(bytes(u64::MAX), [[0xff; 9].as_slice(), &[1]].concat());
    }

    #[test]
    fn fields_survive_a_round_trip() {
        let message = Message::default()
            .integer(1, 300)
            .double(2, 2.5)
            .present_bytes(3, b"text")
            .present_float(15, -0.25)
            .integer(16, u64::MAX);
        let expected = [
            (1, Field::Integer(300)),
            (2, Field::Double(2.5)),
            (3, Field::Bytes(b"text")),
            (15, Field::Float(-0.25)),
            (16, Field::Integer(u64::MAX)),
        ];
        assert_eq!(fields(message.as_bytes()).collect::<Vec<_>>(), expected);
        let torn = &message.as_bytes()[..message.as_bytes().len() - 1];
        assert_eq!(fields(torn).collect::<Vec<_>>(), expected[..4]);
    }

    #[test]
    fn zero_is_omitted_unless_presence_is_significant() {
        let message = Message::default().integer(1, 0).double(2, 0.0).doubles(3, &[]);
        assert!(message.as_bytes().is_empty());
        assert_eq!(Message::default().double(1, -0.0).0.len(), 9, "minus zero is not the default");
        assert_eq!(Message::default().present_float(1, 0.0).0, [0x0d, 0, 0, 0, 0]);
        assert_eq!(Message::default().present_bytes(1, b"").0, [0x0a, 0]);
    }
}
