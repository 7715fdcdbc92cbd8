//! The text format of a losses file: `step,slot,loss`, one line for each gradient. This module
//! reads and writes no file.

use std::fmt::Write as _;
use std::ops::Range;

use unisono_core::ids::{Slot, Step};
use unisono_core::percent_g::PercentG;
use unisono_core::protocol::UpdateRecord;

/// The first line of the file.
pub(super) const HEADER: &str = "step,slot,loss\n";

/// Returns the lines of an update.
pub(super) fn encode(update: &UpdateRecord) -> String {
    let mut text = String::new();
    for (slot, loss) in &update.losses {
        let _infallible = writeln!(text, "{},{slot},{}", update.cut.step, format_loss(*loss));
    }
    text
}

/// Formats a loss with nine significant digits, as C's `printf("%.9g")` does.
///
/// Nine digits distinguish any two `f32`. Every NaN is formatted as `nan`, without its sign.
#[must_use]
pub fn format_loss(loss: f32) -> String {
    PercentG::new(loss.into()).with_precision(9).to_string()
}

/// Largest step that a row may have. The `global_step` of a checkpoint has the same limit, because
/// it is an `i64`.
const LAST: Step = Step(i64::MAX as u64);

/// Parses a line without its line end. Returns `None` if the line is not a row.
pub(super) fn decode(line: &[u8]) -> Option<(Step, Slot, f32)> {
    let mut fields = std::str::from_utf8(line).ok()?.split(',');
    let step = Some(Step(fields.next()?.parse().ok()?)).filter(|step| *step <= LAST)?;
    let slot = Slot(fields.next()?.parse().ok()?);
    let loss = fields.next()?.parse().ok()?;
    fields.next().is_none().then_some((step, slot, loss))
}

/// Returns the rows in a part of a losses file. Lines that are not rows are ignored.
pub(super) fn all(bytes: &[u8]) -> impl Iterator<Item = (Step, Slot, f32)> {
    lines(bytes).filter_map(|line| decode(&bytes[line.range]))
}

/// Returns the lines of a file.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Line> {
    let mut from = 0;
    let ranges = bytes.split_inclusive(|&byte| byte == b'\n').map(move |line| {
        let is_whole = line.ends_with(b"\n");
        let range = from..from + line.len() - usize::from(is_whole);
        from += line.len();
        (range, is_whole)
    });
    (1..).zip(ranges).map(|(number, (range, is_whole))| Line { number, range, is_whole })
}

/// A line of a file.
pub(super) struct Line {
    /// Line number, from 1.
    pub(super) number: usize,
    /// Byte range of the line, without its line end.
    pub(super) range: Range<usize>,
    /// Whether the line has a line end. The last line of a torn file has no line end.
    pub(super) is_whole: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of f32 values, and the texts that Python's `'%.9g' % x` returns for these values.
    /// Python uses C's formatting.
    const REFERENCE: [(u32, &str); 38] = [
        (0x0000_0000, "0"),
        (0x8000_0000, "-0"),
        (0x0000_0001, "1.40129846e-45"),
        (0x8000_0001, "-1.40129846e-45"),
        (0x007f_ffff, "1.17549421e-38"),
        (0x0080_0000, "1.17549435e-38"),
        (0x7f7f_ffff, "3.40282347e+38"),
        (0xff7f_ffff, "-3.40282347e+38"),
        (0x3f80_0000, "1"),
        (0xbf80_0000, "-1"),
        (0x3f00_0000, "0.5"),
        (0x3dcc_cccd, "0.100000001"),
        (0x4049_0fdb, "3.14159274"),
        (0x4120_0000, "10"),
        (0x42c8_0000, "100"),
        (0x4974_2400, "1000000"),
        (0x4b80_0000, "16777216"),
        (0x4b7f_ffff, "16777215"),
        (0x4cbe_bc20, "100000000"),
        (0x4e6e_6b28, "1e+09"),
        (0x4e6e_6b27, "999999936"),
        (0x5015_02f9, "1e+10"),
        (0x4980_0001, "1048576.12"),
        (0x4980_0003, "1048576.38"),
        (0x4980_0005, "1048576.62"),
        (0x38d1_b717, "9.99999975e-05"),
        (0x38d1_b716, "9.99999902e-05"),
        (0x3727_c5ac, "9.99999975e-06"),
        (0x3727_c5ad, "1.00000007e-05"),
        (0x33d6_bf95, "1.00000001e-07"),
        (0x2edb_e6ff, "1.00000001e-10"),
        (0x1e3c_e508, "9.99999968e-21"),
        (0x0da2_4260, "1e-30"),
        (0x3eaa_aaab, "0.333333343"),
        (0x3f7f_ffff, "0.99999994"),
        (0x3f80_0001, "1.00000012"),
        (0x447a_0000, "1000"),
        (0x4013_5d8e, "2.30258512"),
    ];

    #[test]
    fn losses_are_formatted_as_in_c() {
        for (bits, text) in REFERENCE {
            assert_eq!(format_loss(f32::from_bits(bits)), text, "{bits:08x}");
        }
        let odd = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(format_loss);
        assert_eq!(odd, ["nan", "nan", "inf", "-inf"]);
    }

    /// For each i below 200,000, the test formats the f32 whose bits are i·2654435761 mod 2^32, if
    /// it is finite. The expected checksum is the `zlib.crc32` of Python's `'%.9g'` output for the
    /// same values, one value per line.
    #[test]
    fn losses_of_all_magnitudes_are_formatted_as_in_c_and_parse_back() {
        let mut crc = flate2::Crc::new();
        for i in 0..200_000_u32 {
            let loss = f32::from_bits(i.wrapping_mul(2_654_435_761));
            if loss.is_finite() {
                let text = format_loss(loss);
                assert_eq!(text.parse::<f32>().unwrap().to_bits(), loss.to_bits());
                crc.update(text.as_bytes());
                crc.update(b"\n");
            }
        }
        assert_eq!(crc.sum(), 0xd166_ce27);
    }

    #[test]
    fn row_is_exactly_three_numbers() {
        assert_eq!(decode(b"12,3,0.5"), Some((Step(12), Slot(3), 0.5)));
        for line in
            ["", "12,3", "12,3,0.5,", "-1,0,1", "1,4294967296,1", "a,0,1", "1, 0,1", "1,0,\0"]
        {
            assert_eq!(decode(line.as_bytes()), None, "{line:?}");
        }
    }
}
