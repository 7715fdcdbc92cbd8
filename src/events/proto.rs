//! As much of protobuf's wire format as an event takes, for writing only.
//!
//! Fields are to be added in the order of their numbers: then the bytes are those of protobuf's own
//! writers.

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// How a field's value is encoded.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl Message {
    /// An integer; as in proto3, 0 is left out.
    pub(super) fn integer(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.key(field, WireType::Varint);
            self.varint(value);
        }
        self
    }

    /// A double; as in proto3, 0 is left out.
    pub(super) fn double(mut self, field: u32, value: f64) -> Self {
        if value.to_bits() != 0 {
            self.key(field, WireType::Fixed64);
            self.0.extend(value.to_le_bytes());
        }
        self
    }

    /// A float of a `oneof`, which is there even as 0.
    pub(super) fn present_float(mut self, field: u32, value: f32) -> Self {
        self.key(field, WireType::Fixed32);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Bytes, a string or an encoded message, which is there even if it is empty.
    pub(super) fn present_bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, WireType::Bytes);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    /// A message, which is there even if it is empty.
    pub(super) fn message(self, field: u32, message: &Self) -> Self {
        self.present_bytes(field, &message.0)
    }

    /// Doubles, packed; none are left out.
    pub(super) fn doubles(
        mut self,
        field: u32,
        values: impl ExactSizeIterator<Item = f64>,
    ) -> Self {
        if values.len() > 0 {
            self.key(field, WireType::Bytes);
            self.varint((values.len() * size_of::<f64>()) as u64);
            values.for_each(|value| self.0.extend(value.to_le_bytes()));
        }
        self
    }

    /// The encoded message.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn key(&mut self, field: u32, wire_type: WireType) {
        self.varint(u64::from(field << 3 | wire_type as u32));
    }

    /// Seven bits a byte, the lowest first; all but the last byte have their top bit set.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_seven_bits_a_byte() {
        let bytes = |value| Message::default().integer(1, value).0[1..].to_vec();
        assert_eq!(bytes(1), [1]);
        assert_eq!(bytes(127), [127]);
        assert_eq!(bytes(128), [128, 1]);
        assert_eq!(bytes(300), [0xac, 2], "the example of protobuf's documentation");
        assert_eq!(bytes(u64::MAX), [[0xff; 9].as_slice(), &[1]].concat());
    }

    #[test]
    fn zero_is_left_out_unless_its_presence_says_something() {
        let message = Message::default().integer(1, 0).double(2, 0.0).doubles(3, [].into_iter());
        assert!(message.as_bytes().is_empty());
        assert_eq!(Message::default().double(1, -0.0).0.len(), 9, "minus zero is not the default");
        assert_eq!(Message::default().present_float(1, 0.0).0, [0x0d, 0, 0, 0, 0]);
        assert_eq!(Message::default().present_bytes(1, b"").0, [0x0a, 0]);
    }
}
