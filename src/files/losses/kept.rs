//! A copy in memory of the text of a losses file. The run uses the copy to notice and repair damage
//! that another program does to the file.

/// Maximum length of a losses file whose whole text is kept in memory, in bytes. 64 MiB suffice for
/// some three million rows.
///
/// If a file is longer, only its header, first row and last row are kept. These lines suffice to
/// detect damage, but not to repair the file.
pub(super) const MAX_KEPT_BYTES: usize = 64 << 20;

/// The text of a losses file.
#[derive(Debug)]
pub(super) struct KeptText {
    /// The whole text; `None` if the text is too long.
    whole: Option<Vec<u8>>,
    /// The header and the first row, as far as the file has them.
    pub(super) start: Vec<u8>,
    /// The last line.
    pub(super) end: Vec<u8>,
}

impl KeptText {
    /// Creates a copy of `text`, which must consist of whole lines.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut kept = Self { whole: Some(Vec::new()), start: Vec::new(), end: Vec::new() };
        kept.append(text);
        kept
    }

    /// Returns the whole text; `None` if the text is too long to be kept.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        self.whole.as_deref()
    }

    /// Adds whole lines that were appended to the file.
    pub(super) fn append(&mut self, lines: &[u8]) {
        const IN_START: usize = 2; // lines: the header and the first row
        let n_lines = self.start.iter().filter(|byte| **byte == b'\n').count();
        let missing = lines.split_inclusive(|byte| *byte == b'\n').take(IN_START - n_lines);
        missing.for_each(|line| self.start.extend_from_slice(line));
        if let Some(last) = lines.split_inclusive(|byte| *byte == b'\n').next_back() {
            self.end.clear();
            self.end.extend_from_slice(last);
        }
        if let Some(whole) = &mut self.whole {
            whole.extend_from_slice(lines);
            if whole.len() > MAX_KEPT_BYTES {
                self.whole = None;
            }
        }
    }

    /// Replaces the copy after the content of the file became `text`.
    pub(super) fn cut_to(&mut self, text: &[u8]) {
        // If the old text was too long to keep, `text` was read from the disk. A copy of text from
        // the disk cannot serve to check or repair the file, so `text` is not kept whole.
        let is_whole = self.whole.is_some();
        *self = Self::of(text);
        if !is_whole {
            self.whole = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_two_lines_and_last_line_are_kept_for_any_split_of_the_text() {
        let text = b"a\nb\nc\nd\n";
        for n_first in [0, 2, 4, 6, 8] {
            let mut kept = KeptText::of(&text[..n_first]);
            kept.append(&text[n_first..]);
            assert_eq!((&*kept.start, &*kept.end), (&b"a\nb\n"[..], &b"d\n"[..]), "{n_first}");
            assert_eq!(kept.whole(), Some(&text[..]));
            kept.cut_to(b"a\n");
            assert_eq!((&*kept.start, &*kept.end), (&b"a\n"[..], &b"a\n"[..]));
        }
    }

    #[test]
    fn text_that_is_too_long_keeps_its_first_and_last_lines() {
        let mut kept = KeptText::of(b"first\n");
        let line = [&vec![b'x'; MAX_KEPT_BYTES][..], b"\n"].concat();
        kept.append(&line);
        kept.append(b"last\n");
        assert_eq!((kept.whole(), &*kept.end), (None, &b"last\n"[..]));
        kept.cut_to(b"first\nother\n");
        assert_eq!((kept.whole(), &*kept.end), (None, &b"other\n"[..]));
    }
}
