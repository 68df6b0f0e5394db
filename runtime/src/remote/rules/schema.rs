//! The published JSON schema of files of rules, for editors: made from the syscall table, kept in `docs/rules.schema.json`.

use rsc_proto::table;
use serde_json::{Value, json};

use super::calls;

/// The schema.
pub fn schema() -> Value {
    let mut words: Vec<String> = vec!["all".to_owned()];
    words.extend(calls::GROUPS.iter().map(|(name, _)| format!("%{name}")));
    words.extend(table::TABLE.iter().map(|call| call.name.to_owned()));
    let one_or_more = |item: Value, about: &str| {
        json!({
            "description": about,
            "anyOf": [item, { "type": "array", "items": item, "minItems": 1, "maxItems": 1000 }]
        })
    };
    let path = json!({ "type": "string", "pattern": "^[/@]", "maxLength": 1024 });
    let port = json!({
        "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 65535 },
            { "type": "string", "pattern": "^[0-9]+( *- *[0-9]+)?$" }
        ]
    });
    let syscalls = one_or_more(json!({ "enum": words }), "One of these calls, or of a set.");
    let watch = json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "name": { "description": "What messages and the report call it.", "type": "string" },
            "executable": one_or_more(path.clone(), "The program, as it was called or as it is."),
            "uid": one_or_more(json!({ "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 }), "The real user id."),
            "cgroup": one_or_more(path.clone(), "The path of a cgroup, as in /proc/PID/cgroup."),
            "container": one_or_more(json!({ "type": "string" }), "The id of a container; * and ? match."),
            "syscalls": syscalls.clone(),
            "path": one_or_more(path.clone(), "The path in a call."),
            "port": one_or_more(port.clone(), "The port in a call's address.")
        }
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of rsc: which system calls of a process are carried out by a sentry",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "watch": {
                "description": "A kind of processes that rsc-runtime watch takes over: when they execute a program, or with syscalls, path or port after the first such call.",
                "type": "array",
                "maxItems": 63,
                "items": watch
            },
            "rule": {
                "description": "The first rule that matches decides.",
                "type": "array",
                "maxItems": 1000,
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "name": { "description": "What messages call it.", "type": "string" },
                        "syscalls": syscalls.clone(),
                        "path": one_or_more(path.clone(), "The path, absolute and resolved; *, ?, [a-z], and ** for whole components."),
                        "address": one_or_more(json!({ "type": "string" }), "The internet address, or a network like 10.0.0.0/8."),
                        "host": one_or_more(json!({ "type": "string" }), "A name under which the address was looked up; * and ? match."),
                        "port": one_or_more(port, "The port, or a range."),
                        "executable": one_or_more(path, "The program that makes the call."),
                        "access": { "description": "Whether the call may change the file which it names.", "enum": ["read", "write"] },
                        "action": { "description": "Who carries the call out.", "enum": ["remote", "local"] },
                        "deny": { "description": "The call fails with this error.", "type": "string", "pattern": "^E[A-Z0-9]+$" },
                        "map": {
                            "description": "What the path becomes first; behind a pattern that ends with /** the folder before that.",
                            "type": "string", "pattern": "^/"
                        }
                    },
                    "oneOf": [
                        { "required": ["deny"], "not": { "anyOf": [{ "required": ["action"] }, { "required": ["map"] }] } },
                        { "anyOf": [{ "required": ["action"] }, { "required": ["map"] }], "not": { "required": ["deny"] } }
                    ],
                    "dependentRequired": { "map": ["path"] }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::rules::Rules;

    /// After a change of the schema or of the table: `RSC_WRITE=1 cargo test -p rsc-runtime rules::schema`.
    #[test]
    fn published_as_it_is() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.schema.json");
        let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("RSC_WRITE").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let published = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(published == text, "docs/rules.schema.json is stale; the test's comment says how to write it anew");
    }

    #[test]
    fn has_the_keys_that_are_read() {
        for table in ["rule", "watch"] {
            let problem = Rules::parse(&format!("[[{table}]]\nnothing = 1"), "r").unwrap_err().to_string();
            let mut read: Vec<&str> = problem.split('`').skip(3).step_by(2).collect();
            let schema = schema();
            let mut told: Vec<&String> =
                schema["properties"][table]["items"]["properties"].as_object().unwrap().keys().collect();
            read.sort_unstable();
            told.sort_unstable();
            assert_eq!(read, told, "{problem}");
        }
    }
}
