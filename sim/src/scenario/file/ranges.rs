//! Ranges: a single value, or `{ min = …, max = … }`, where either key may be absent.

use toml::de::DeValue;

use crate::scenario::keys::lines::braced;
use crate::scenario::keys::*;
use crate::scenario::range::Range;

/// If `min` is absent, the range begins at the least permitted value. If `max` is absent, the range
/// ends at the greatest permitted value.
impl<T: Ends> ValueType for Range<T> {
    fn takes(bounds: Bounds) -> String {
        if bounds == Bounds::ANY {
            return T::RANGE.to_owned();
        }
        let (least, greatest) = T::ends(bounds);
        format!("{} from {} to {}", T::RANGE, least.text(bounds), greatest.text(bounds))
    }

    fn read(value: Value<'_>, bounds: Bounds) -> Result<Self, Wrong> {
        let DeValue::Table(table) = value.raw else {
            let exactly = T::read(value, bounds)?;
            return Ok(Self { min: exactly, max: exactly });
        };
        if let Some(key) = table.keys().find(|key| !["min", "max"].contains(&&**key.get_ref())) {
            let what = format!("unknown key {}; a range has min and max", key.get_ref());
            return Err(value.wrong_key(key, what));
        }
        let end = |key: &'static str, widest| {
            let given = table.get(key).map(|item| value.inner(value.key, item));
            given.map_or(Ok(widest), |given| T::read(given, bounds))
        };
        let (least, greatest) = T::ends(bounds);
        let range = Self { min: end("min", least)?, max: end("max", greatest)? };
        if range.max < range.min {
            return Err(value.wrong("the range is empty, because min is above max"));
        }
        Ok(range)
    }

    fn text(&self, bounds: Bounds) -> String {
        if self.min == self.max {
            return self.min.text(bounds);
        }
        let (least, greatest) = T::ends(bounds);
        let ends = [("min", self.min, least), ("max", self.max, greatest)].into_iter();
        let given = ends.filter(|(_, end, widest)| end != widest);
        braced(
            &given.map(|(key, end, _)| format!("{key} = {}", end.text(bounds))).collect::<Vec<_>>(),
        )
    }
}
