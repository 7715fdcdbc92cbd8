//! Creates one HTML page from a report. The page contains the data as JSON, and scripts that
//! display the data. The page loads no other files.

use super::document::Document;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// Scripts of the page, in order. All scripts share one scope, and each script uses the preceding
/// ones.
const SCRIPTS: [&str; 9] = [
    include_str!("page/helpers.js"),
    include_str!("page/numbers.js"),
    include_str!("page/scale.js"),
    include_str!("page/view.js"),
    include_str!("page/loss.js"),
    include_str!("page/speed.js"),
    include_str!("page/timeline.js"),
    include_str!("page/tables.js"),
    include_str!("page/page.js"),
];

/// Returns the HTML page of a document.
#[must_use]
pub fn page(document: &Document) -> String {
    let parts = [
        ("<!-- title -->", in_html(&document.title)),
        ("/* style */", STYLE.to_owned()),
        ("/* data */", in_script(document)),
        ("/* script */", SCRIPTS.join("\n")),
    ];
    // Each placeholder is searched after the previous one, so that text in the data is not mistaken
    // for a placeholder.
    let mut page = String::new();
    let mut rest = TEMPLATE;
    for (place, text) in parts {
        let (before, after) = rest.split_once(place).expect("the template has its places in order");
        page.push_str(before);
        page.push_str(&text);
        rest = after;
    }
    page.push_str(rest);
    page
}

fn in_html(text: &str) -> String {
    // `&` is replaced first, because the other replacements insert `&`.
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;").replace('\'', "&#39;")
}

/// Returns the document as JSON for a script element. Every `<` is escaped, so that the JSON can
/// neither end the element nor start a comment. In JSON, `<` occurs only in strings, where it can
/// be escaped.
fn in_script(document: &Document) -> String {
    let json = serde_json::to_string(document).expect("all keys of a document are strings");
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Fact;

    /// Returns the text inside the data element of the page.
    fn data(page: &str) -> &str {
        let (_, rest) = page.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
        rest.split_once("</script>").unwrap().0
    }

    fn nasty() -> Document {
        let text = "</script><script>alert(1)</script><!-- /* data */ & \u{2028} \"' \\u003c";
        let mut document = Document::named(text.to_owned(), true);
        document.notes.push(text.to_owned());
        document.facts.push(Fact { name: text.to_owned(), value: text.to_owned() });
        document.losses.step.push(u64::MAX >> 11);
        document.losses.value.extend([Some(0.1), None]);
        document
    }

    #[test]
    fn page_data_parse_back_to_the_document() {
        let page = page(&nasty());
        let read: Document = serde_json::from_str(data(&page)).unwrap();
        assert_eq!(read, nasty());
    }

    #[test]
    fn data_and_title_are_escaped() {
        let page = page(&nasty());
        assert_eq!(page.matches("</script>").count(), 2);
        assert_eq!(page.matches("<script").count(), 2);
        assert!(!data(&page).contains('<'));
        let (_, title) = page.split_once("<title>").unwrap();
        assert!(title.starts_with("&lt;/script&gt;"), "{}", &title[..40]);
    }

    #[test]
    fn page_makes_no_requests() {
        let page = page(&Document::named("run".to_owned(), false));
        for word in ["http:", "https:", "src=", "url(", "@import", "fetch(", "import("] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
