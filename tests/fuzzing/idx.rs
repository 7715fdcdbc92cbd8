//! Fuzz target: the files of a data set, plain or gzip.

use super::idx::{Images, MAX_HEADER_LEN, Shape, parse_labels};
use super::idx_file::read_content;

/// Reads `bytes` as a file of images and as a file of labels. Returns whether one of the two
/// succeeds.
///
/// # Panics
/// If the reader accepts a file, but its result contradicts the file's header.
pub fn idx(bytes: &[u8]) -> bool {
    let content = match read_content(bytes) {
        Ok((_, content)) => content,
        Err(error) => {
            let _ = format!("{error:?}");
            return false;
        }
    };
    let n_bytes = content.len() as u64;
    let announced = Shape::parse(&content).expect("the reader parsed the header").file_len();
    // The reader reads one byte more than announced, so that a parser notices a file that is too
    // long.
    assert!(n_bytes <= MAX_HEADER_LEN.max(announced + 1), "{n_bytes} bytes of {announced}");
    let (images, labels) = (Images::parse(&content), parse_labels(&content));
    match (&images, &labels) {
        (Ok(images), Err(_)) => {
            assert!(!images.is_empty() && images.n_pixels_each() > 0);
            assert_eq!(images.len() * images.n_pixels_each(), images.pixels().len());
            assert!(content.ends_with(images.pixels()));
        }
        (Err(_), Ok(labels)) => assert_eq!(content[8..], **labels),
        (Err(no_images), Err(no_labels)) => {
            let _ = (no_images.to_string(), no_labels.to_string());
            return false;
        }
        (Ok(_), Ok(_)) => panic!("the file parses both as images and as labels"),
    }
    assert_eq!(n_bytes, announced);
    true
}

#[cfg(test)]
pub(crate) fn idx_seeds() -> Vec<crate::corpus::Seed> {
    use super::idx::tests::idx;
    use super::idx_file::tests::gzip;
    use crate::corpus::Seed;

    let images = idx(&[2, 2, 3], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]);
    let labels = idx(&[5], &[7, 0, 9, 1, 255]);
    let (head, tail) = labels.split_at(9);
    vec![
        Seed::new("images.gz", gzip(&images)),
        Seed::new("labels.gz", gzip(&labels)),
        Seed::new("two-members.gz", [gzip(head), gzip(tail)].concat()),
        Seed::new("long.gz", gzip(&idx(&[40, 50], &[3; 2000]))),
        Seed::new("refused-lying.gz", gzip(&idx(&[1 << 29], &[3; 20]))),
        Seed::new("refused-lying", idx(&[1 << 15, 1 << 14], &[3; 20])),
        Seed::new("refused-many-dimensions", idx(&[1; 255], &[])),
        Seed::new("images", images),
        Seed::new("labels", labels),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;

    #[test]
    fn every_seed_file_is_read_or_refused_as_its_name_says() {
        Corpus::of("idx", idx_seeds()).survives(idx);
    }
}
