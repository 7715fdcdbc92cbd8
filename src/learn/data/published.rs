//! Published data sets: their mirrors, and the digests of their files.
//!
//! The digests serve to verify a download, and to recognise a data set in a folder. `docs/data.md`
//! documents the origin of each digest. This module opens no socket and no file.

use super::dataset::FILE_NAMES;
use unisono_config::values::{Named, Names};

/// A published data set, which consists of four IDX files under MNIST's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Handwritten digits, by Yann LeCun and Corinna Cortes.
    Mnist,
    /// Pictures of clothes, by Zalando Research.
    FashionMnist,
}

/// The name of a published file, and the digests of its compressed and uncompressed forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedFile {
    /// File name, without `.gz`.
    pub name: &'static str,
    /// Length and digest of the published gzip file.
    pub gzip: Known,
    /// Length and digest of the uncompressed IDX file.
    pub content: Known,
}

/// The length and the digest of a file's known content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Length in bytes.
    pub len: u64,
    /// SHA-256, as 64 hexadecimal digits.
    pub sha256: &'static str,
}

impl Known {
    /// Returns whether content with this length and SHA-256 equals the known content.
    #[must_use]
    pub fn is(self, (len, sha256): &(u64, String)) -> bool {
        self.len == *len && self.sha256 == sha256
    }
}

impl Published {
    /// Returns the usual name of the data set.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Mnist => "MNIST",
            Self::FashionMnist => "Fashion-MNIST",
        }
    }

    /// Returns the licence and the licensor.
    #[must_use]
    pub const fn licence(self) -> &'static str {
        match self {
            Self::Mnist => "CC BY-SA 3.0, by Yann LeCun and Corinna Cortes",
            Self::FashionMnist => "MIT, by Zalando SE",
        }
    }

    /// Returns the base URLs of the mirrors, in the order in which they are tried. The URL of a
    /// file is a base URL followed by `NAME.gz`.
    #[must_use]
    pub const fn mirrors(self) -> &'static [&'static str] {
        match self {
            Self::Mnist => &[
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://sagemaker-sample-files.s3.amazonaws.com/datasets/image/MNIST/",
            ],
            Self::FashionMnist => &[
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://sagemaker-sample-files.s3.amazonaws.com/datasets/image/fashion-MNIST/",
            ],
        }
    }

    /// Returns the four files, in the order of [`FILE_NAMES`].
    #[must_use]
    pub const fn files(self) -> &'static [PublishedFile; 4] {
        match self {
            Self::Mnist => &MNIST,
            Self::FashionMnist => &FASHION_MNIST,
        }
    }

    /// Returns the published data set whose uncompressed files have these SHA-256 digests. The
    /// digests are in the order of [`FILE_NAMES`].
    #[must_use]
    pub fn of_contents(sha256: [&str; 4]) -> Option<Self> {
        let all = Self::ALL.iter().map(|Named(set)| *set);
        all.into_iter().find(|set| set.files().map(|file| file.content.sha256) == sha256)
    }
}

impl Names for Published {
    const ALL: &'static [Named<Self>] = &[Named(Self::Mnist), Named(Self::FashionMnist)];

    fn named(self) -> (&'static str, &'static str) {
        match self {
            Self::Mnist => ("mnist", "Handwritten digits, by Yann LeCun and Corinna Cortes"),
            Self::FashionMnist => ("fashion-mnist", "Pictures of clothes, by Zalando Research"),
        }
    }
}

const fn file(place: usize, gzip: Known, content: Known) -> PublishedFile {
    PublishedFile { name: FILE_NAMES[place], gzip, content }
}

const fn known(len: u64, sha256: &'static str) -> Known {
    Known { len, sha256 }
}

static MNIST: [PublishedFile; 4] = [
    file(
        0,
        known(9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        known(47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    ),
    file(
        1,
        known(28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        known(60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ),
    file(
        2,
        known(1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        known(7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ),
    file(
        3,
        known(4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        known(10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
];

static FASHION_MNIST: [PublishedFile; 4] = [
    file(
        0,
        known(26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        known(47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    ),
    file(
        1,
        known(29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        known(60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ),
    file(
        2,
        known(4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        known(7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    ),
    file(
        3,
        known(5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        known(10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_set_is_recognised_by_the_content_of_its_files() {
        for &Named(set) in Published::ALL {
            let mut contents = set.files().map(|file| file.content.sha256);
            assert_eq!(Published::of_contents(contents), Some(set));
            contents.swap(1, 3);
            assert_eq!(Published::of_contents(contents), None);
        }
    }

    #[test]
    fn published_names_lengths_and_digests_are_consistent() {
        let mut digests = Vec::new();
        for &Named(set) in Published::ALL {
            for (file, name) in set.files().iter().zip(FILE_NAMES) {
                assert_eq!(file.name, name);
                // A file of images has 60,000 (training) or 10,000 (test) images of 28 by 28
                // pixels. A file of labels has one byte for each image.
                let n = if name.starts_with("train") { 60_000 } else { 10_000 };
                let of_images = 16 + 784 * n;
                let len = if name.contains("images") { of_images } else { 8 + n };
                assert_eq!(file.content.len, len, "{name}");
                digests.extend([file.gzip.sha256, file.content.sha256]);
            }
            for mirror in set.mirrors() {
                assert!(mirror.starts_with("http") && mirror.ends_with('/'), "{mirror}");
            }
        }
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        assert!(digests.iter().all(|digest| digest.len() == 64 && digest.bytes().all(is_hex)));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 16);
    }
}
