//! What conformance programs print, case by case, and how two outputs differ.

use std::collections::HashMap;

/// One line `case NAME: TEXT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name; the second of one name is `NAME#2`.
    pub name: String,
    /// What the program saw.
    pub text: String,
}

/// The cases of an output, in order.
#[must_use]
pub fn cases(output: &str) -> Vec<Case> {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    output
        .lines()
        .filter_map(|l| l.strip_prefix("case ")?.split_once(": "))
        .map(|(name, text)| {
            let n = seen.entry(name).or_default();
            *n += 1;
            Case { name: if *n == 1 { name.to_owned() } else { format!("{name}#{n}") }, text: text.to_owned() }
        })
        .collect()
}

/// A case in which two outputs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The case.
    pub case: String,
    /// What the reference saw, if it got there.
    pub wanted: Option<String>,
    /// What the other one saw, if it got there.
    pub got: Option<String>,
}

/// The differences between a reference output and another. Equal cases in another order are one difference, named `(order)`.
#[must_use]
pub fn differences(reference: &str, other: &str) -> Vec<Difference> {
    let (want, got) = (cases(reference), cases(other));
    let find = |list: &[Case], name: &str| list.iter().find(|c| c.name == name).map(|c| c.text.clone());
    let mut all: Vec<Difference> = want
        .iter()
        .filter_map(|c| {
            let g = find(&got, &c.name);
            (g.as_ref() != Some(&c.text)).then(|| Difference {
                case: c.name.clone(),
                wanted: Some(c.text.clone()),
                got: g,
            })
        })
        .collect();
    all.extend(got.iter().filter(|c| find(&want, &c.name).is_none()).map(|c| Difference {
        case: c.name.clone(),
        wanted: None,
        got: Some(c.text.clone()),
    }));
    if all.is_empty() && want != got {
        all.push(Difference { case: "(order)".into(), wanted: None, got: None });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outputs() {
        assert_eq!(differences("program x\ncase a: 1\ncase b: 2\n", "case a: 1\ncase b: 2\nend x\n"), []);
    }

    #[test]
    fn each_kind_of_difference() {
        let d = differences("case a: 1\ncase a: 2\ncase b: 3\n", "case a: 1\ncase a: 9\ncase c: 4\n");
        let names: Vec<_> = d.iter().map(|d| d.case.as_str()).collect();
        assert_eq!(names, ["a#2", "b", "c"]);
    }

    #[test]
    fn order_matters() {
        assert_eq!(differences("case a: 1\ncase b: 2\n", "case b: 2\ncase a: 1\n")[0].case, "(order)");
    }
}
