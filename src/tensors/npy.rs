//! One numpy array in the format of a `.npy` file (NEP 1). Only arrays that tensors can represent
//! are supported.

use safetensors::tensor::Dtype;

use crate::tensor::AnyTensor;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Maximum number of dimensions; numpy has the same limit.
const MAX_DIMENSIONS: usize = 64;

/// The element types that safetensors and numpy both have, with numpy's name for each type.
const TYPES: [(Dtype, &str); 13] = [
    (Dtype::BOOL, "|b1"),
    (Dtype::I8, "|i1"),
    (Dtype::U8, "|u1"),
    (Dtype::I16, "<i2"),
    (Dtype::U16, "<u2"),
    (Dtype::F16, "<f2"),
    (Dtype::I32, "<i4"),
    (Dtype::U32, "<u4"),
    (Dtype::F32, "<f4"),
    (Dtype::I64, "<i8"),
    (Dtype::U64, "<u8"),
    (Dtype::F64, "<f8"),
    (Dtype::C64, "<c8"),
];

/// An array whose header was parsed. The type of the elements may be a type that tensors do not
/// support.
#[derive(Debug, PartialEq)]
pub(super) struct Npy<'a> {
    header: Header,
    data: &'a [u8],
}

#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Returns the `.npy` file of a tensor. If numpy does not have the type of the tensor, returns this
/// type as the error.
pub(super) fn encode(tensor: &AnyTensor) -> Result<Vec<u8>, Dtype> {
    let descr = TYPES.iter().find(|(dtype, _)| *dtype == tensor.dtype).ok_or(tensor.dtype)?.1;
    Ok(file(descr, &tensor.shape, &tensor.bytes))
}

/// Returns the `.npy` file of a text. The text is a scalar of numpy's type `U`, with four bytes for
/// each character.
pub(super) fn encode_text(text: &str) -> Vec<u8> {
    let n_chars = text.chars().count();
    // numpy's type `<U` stores texts as UTF-32.
    let bytes: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    file(&format!("<U{n_chars}"), &[], &bytes)
}

fn file(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let shape = match shape {
        [one] => format!("({one},)"),
        many => format!("({})", many.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}").into_bytes();
    // Spaces fill the header, because the data must begin at a multiple of 64 bytes. The header
    // must end with a line feed.
    let before = MAGIC.len() + 4;
    let end = (before + header.len() + 1).next_multiple_of(64);
    header.resize(end - before - 1, b' ');
    header.push(b'\n');
    let length = u16::try_from(header.len()).expect("a shape of few dimensions is short");
    [MAGIC, &[1, 0], &length.to_le_bytes(), &header, data].concat()
}

impl<'a> Npy<'a> {
    /// Parses the header. All bytes after the header are the data.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let torn = || "it ends before its header does".to_owned();
        let rest = bytes.strip_prefix(MAGIC).ok_or("it is not a numpy array")?;
        let ([major, _minor], rest) = rest.split_first_chunk().ok_or_else(torn)?;
        let (length, rest) = match major {
            1 => {
                let (length, rest) = rest.split_first_chunk().ok_or_else(torn)?;
                (u32::from(u16::from_le_bytes(*length)), rest)
            }
            2 | 3 => {
                let (length, rest) = rest.split_first_chunk().ok_or_else(torn)?;
                (u32::from_le_bytes(*length), rest)
            }
            other => {
                return Err(format!(
                    "it has version {other} of the format; only versions 1 to 3 are \
                     supported"
                ));
            }
        };
        let length = usize::try_from(length).map_err(|_| torn())?;
        let (header, data) = rest.split_at_checked(length).ok_or_else(torn)?;
        let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
        Ok(Self { header: Header::parse(header)?, data })
    }

    /// Returns the tensor, if its type and length are valid.
    pub(super) fn tensor(&self) -> Result<AnyTensor, String> {
        let Header { descr, fortran_order, shape } = &self.header;
        let (dtype, is_swapped) = dtype_of(descr).ok_or_else(|| {
            format!("its elements have numpy's type {descr:?}, which tensors do not support")
        })?;
        let width = dtype.bitsize() / 8;
        let mut bytes = self.data_of(width)?.to_vec();
        if is_swapped {
            // A complex number is a pair of numbers, and the byte order applies to each of the two.
            let part = if dtype == Dtype::C64 { width / 2 } else { width };
            bytes.chunks_exact_mut(part).for_each(<[u8]>::reverse);
        }
        if *fortran_order {
            bytes = row_major(&bytes, shape, width);
        }
        Ok(AnyTensor { dtype, shape: shape.clone(), bytes })
    }

    /// Returns the text, if the array contains a single text.
    pub(super) fn text(&self) -> Result<String, String> {
        let no_text = || format!("it has numpy's type {:?}, not text", self.header.descr);
        let n_chars = self.header.descr.strip_prefix("<U").ok_or_else(no_text)?;
        let n_chars: usize = n_chars.parse().map_err(|_| no_text())?;
        if !self.header.shape.is_empty() {
            return Err("it has more than one text".to_owned());
        }
        let width = n_chars.checked_mul(4).ok_or_else(no_text)?;
        let (chars, _) = self.data_of(width)?.as_chunks();
        let decode = |bytes: &[u8; 4]| char::from_u32(u32::from_le_bytes(*bytes));
        let text: Option<String> = chars.iter().map(decode).collect();
        // numpy pads shorter texts with zeros.
        text.map(|text| text.trim_end_matches('\0').to_owned()).ok_or_else(no_text)
    }

    /// Returns the data, if the number of bytes equals the number of elements in the shape times
    /// `width`.
    fn data_of(&self, width: usize) -> Result<&'a [u8], String> {
        let shape = &self.header.shape;
        let n_bytes = shape.iter().try_fold(width, |n, size| n.checked_mul(*size));
        match n_bytes {
            Some(n_bytes) if n_bytes == self.data.len() => Ok(self.data),
            _ => Err(format!(
                "it has {} bytes of data, which do not match its shape {shape:?}",
                self.data.len()
            )),
        }
    }
}

/// Returns the tensor type for a numpy type, and whether the elements are big-endian.
fn dtype_of(descr: &str) -> Option<(Dtype, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let of = |name: &str| TYPES.iter().find(|(_, known)| &known[1..] == name).map(|known| known.0);
    Some((of(kind)?, order == ">")).filter(|_| ["<", ">", "|", "="].contains(&order))
}

/// Changes the order of elements from column-major to row-major.
fn row_major(bytes: &[u8], shape: &[usize], width: usize) -> Vec<u8> {
    // Distance, in bytes, between neighbours along each dimension.
    let strides: Vec<usize> = shape
        .iter()
        .scan(width, |stride, size| Some(std::mem::replace(stride, *stride * size)))
        .collect();
    let mut ordered = Vec::with_capacity(bytes.len());
    let mut index = vec![0; shape.len()];
    while ordered.len() < bytes.len() {
        let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        ordered.extend(&bytes[at..][..width]);
        // This advances the index. The last dimension varies fastest.
        for (i, size) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *size {
                break;
            }
            *i = 0;
        }
    }
    ordered
}

impl Header {
    /// Parses the header, which is a Python dictionary with the keys `descr`, `fortran_order` and
    /// `shape` in any order.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("its header is invalid: {:?}", text.trim_end());
        let mut rest = text.trim().strip_prefix('{').ok_or_else(wrong)?.trim_start();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.starts_with('}') {
            let (key, behind) = quoted(rest).ok_or_else(wrong)?;
            let value = behind.trim_start().strip_prefix(':').ok_or_else(wrong)?.trim_start();
            rest = match key {
                "descr" if value.starts_with('[') => {
                    return Err("its elements are records, which tensors do not support".to_owned());
                }
                "descr" => store(quoted(value), &mut descr),
                "fortran_order" => store(truth(value), &mut fortran_order),
                "shape" => store(tuple(value), &mut shape),
                _ => None,
            }
            .ok_or_else(wrong)?
            .trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        let all = descr.zip(fortran_order).zip(shape).filter(|_| rest == "}");
        let ((descr, fortran_order), shape) = all.ok_or_else(wrong)?;
        Ok(Self { descr: descr.to_owned(), fortran_order, shape })
    }
}

/// Stores a parsed value. Returns the rest of the text.
fn store<'a, T>(parsed: Option<(T, &'a str)>, place: &mut Option<T>) -> Option<&'a str> {
    let (value, rest) = parsed?;
    *place = Some(value);
    Some(rest)
}

/// Parses a string in single or double quotes. Returns the string and the rest of the text.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn truth(text: &str) -> Option<(bool, &str)> {
    let is = |name, value| text.strip_prefix(name).map(|behind| (value, behind));
    is("True", true).or_else(|| is("False", false))
}

/// Parses a tuple of sizes. Returns the sizes and the rest of the text.
fn tuple(text: &str) -> Option<(Vec<usize>, &str)> {
    let (inside, behind) = text.strip_prefix('(')?.split_once(')')?;
    // Python 2 appends an L to a long integer.
    let size = |text: &str| text.trim().trim_end_matches('L').parse().ok();
    let inside = inside.trim().trim_end_matches(',');
    let sizes: Option<Vec<_>> =
        if inside.is_empty() { Some(Vec::new()) } else { inside.split(',').map(size).collect() };
    sizes.filter(|sizes| sizes.len() <= MAX_DIMENSIONS).map(|sizes| (sizes, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns an array with an arbitrary header.
    fn array(header: &str, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    fn read(header: &str, data: &[u8]) -> Result<AnyTensor, String> {
        let bytes = array(header, data);
        Npy::parse(&bytes)?.tensor()
    }

    #[test]
    fn encoded_bytes_equal_those_of_numpy() {
        let bytes = [1.0f32, -2.0].map(f32::to_le_bytes).concat();
        let tensor = AnyTensor { dtype: Dtype::F32, shape: vec![2], bytes };
        let file = encode(&tensor).unwrap();
        assert_eq!(file.len(), 128 + 8);
        assert_eq!(&file[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = String::from_utf8_lossy(&file[10..128]);
        assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } "));
        assert!(header.ends_with(" \n"), "{header}");
        assert_eq!(Npy::parse(&file).unwrap().tensor().unwrap(), tensor);
    }

    #[test]
    fn column_major_and_big_endian_arrays_are_converted() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3)}";
        let tensor = read(header, &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6]).unwrap();
        assert_eq!(tensor.shape, [2, 3]);
        assert_eq!(tensor.bytes, [1, 2, 3, 4, 5, 6].map(i16::to_le_bytes).concat());
        let header = "{'descr': '>c8', 'fortran_order': False, 'shape': ()}";
        let tensor = read(header, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        assert_eq!(tensor.bytes, [4, 3, 2, 1, 8, 7, 6, 5]);
    }

    #[test]
    fn header_keys_may_have_any_order_and_quotes() {
        let header = " {\"shape\":(2L,3),'fortran_order' : False , \"descr\": '|u1' }\n";
        assert_eq!(read(header, b"abcdef").unwrap().shape, [2, 3]);
    }

    #[test]
    fn error_says_why_an_array_is_not_a_tensor() {
        let errors = [
            read("{'descr': '|O', 'fortran_order': False, 'shape': ()}", b"x"),
            read("{'descr': '<f16', 'fortran_order': False, 'shape': ()}", &[0; 16]),
            read("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", b""),
            read("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", &[0; 8]),
            read(
                "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999)}",
                b"",
            ),
            read("{'descr': '<f4', 'shape': ()}", &[0; 4]),
            read("{'descr': '<f4', 'news': 1}", &[0; 4]),
            Npy::parse(b"\x93NUMPY\x01\x00\xff\xff{").map(|_| unreachable!("it is torn")),
            Npy::parse(b"\x93NUMPY\x09\x00").map(|_| unreachable!("it is of the future")),
            Npy::parse(b"text").map(|_| unreachable!("it is none")),
        ]
        .map(Result::unwrap_err)
        .join("\n");
        insta::assert_snapshot!(errors, @r#"
        its elements have numpy's type "|O", which tensors do not support
        its elements have numpy's type "<f16", which tensors do not support
        its elements are records, which tensors do not support
        it has 8 bytes of data, which do not match its shape [3]
        it has 0 bytes of data, which do not match its shape [99999999999, 99999999999]
        its header is invalid: "{'descr': '<f4', 'shape': ()}"
        its header is invalid: "{'descr': '<f4', 'news': 1}"
        it ends before its header does
        it has version 9 of the format; only versions 1 to 3 are supported
        it is not a numpy array
        "#);
    }

    #[test]
    fn text_survives_a_round_trip() {
        for text in ["", "{\"a\": 1}", "\u{e9}\u{1f600}"] {
            let file = encode_text(text);
            assert_eq!(Npy::parse(&file).unwrap().text().as_deref(), Ok(text));
        }
        let bytes = array(
            "{'descr': '<U2', 'fortran_order': False, 'shape': ()}",
            &[b'a', 0, 0, 0, 0, 0, 0, 0],
        );
        assert_eq!(Npy::parse(&bytes).unwrap().text().as_deref(), Ok("a"));
    }

    proptest! {
        #[test]
        fn any_tensor_survives_a_round_trip(
            (dtype, _) in proptest::sample::select(&TYPES[..]),
            shape in proptest::collection::vec(0..4_usize, 0..4),
            byte: u8,
        ) {
            let n_bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let bytes = (0..n_bytes).map(|i| byte.wrapping_mul(i as u8)).collect();
            let tensor = AnyTensor { dtype, shape, bytes };
            let file = encode(&tensor).unwrap();
            prop_assert_eq!(Npy::parse(&file).unwrap().tensor(), Ok(tensor));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            header in "[{}()'\":, a-zA-Z0-9<>|=_\\[\\]]*",
            descr in "[<>|=]?[a-zA-Z][0-9]{0,20}",
            shape in "[0-9,L ]*",
            data: Vec<u8>,
        ) {
            let whole = format!("{{'descr': '{descr}', 'fortran_order': True, 'shape': ({shape})}}");
            for bytes in [array(&header, &data), array(&whole, &data), data.clone()] {
                if let Ok(npy) = Npy::parse(&bytes) {
                    let _ = (npy.tensor(), npy.text());
                }
            }
        }
    }
}
