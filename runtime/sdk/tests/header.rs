//! `rsc.h` is made of the functions that `librsc.so` has. This test makes it and compares; with `RSC_WRITE_HEADER=1` it writes it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;

/// How a type is written in C before a name.
fn c_type(rust: &str) -> String {
    let pointed = |rest: &str, prefix: &str| format!("{prefix}{} *", c_type(rest).trim_end());
    if let Some(rest) = rust.strip_prefix("*const ") {
        return pointed(rest, "const ");
    }
    if let Some(rest) = rust.strip_prefix("*mut ") {
        return pointed(rest, "");
    }
    let name = match rust {
        "c_char" => "char",
        "c_int" => "int",
        "c_long" => "long",
        "c_void" => "void",
        "libc::stat" => "struct stat",
        "rsc_settings" => "struct rsc_settings",
        "mode_t" | "off_t" | "size_t" | "ssize_t" => rust,
        other => panic!("what is {other} in C?"),
    };
    format!("{name} ")
}

fn comment(out: &mut String, lines: &[&str], indent: &str) {
    for (at, line) in lines.iter().enumerate() {
        writeln!(
            out,
            "{indent}{} {line}{}",
            if at == 0 { "/*" } else { " *" },
            if at + 1 == lines.len() { " */" } else { "" }
        )
        .unwrap();
    }
}

/// A function by its name, its arguments and its result as they are written in Rust.
fn function(out: &mut String, docs: &[&str], name: &str, arguments: &str, result: &str) {
    comment(out, docs, "");
    let list = if name == "rsc_syscall" { "" } else { arguments };
    let list: Vec<String> = list
        .split(',')
        .filter_map(|argument| argument.trim().split_once(": "))
        .map(|(name, kind)| format!("{}{name}", c_type(kind.trim())))
        .collect();
    let list = match name {
        "rsc_syscall" => "long number, ...".to_owned(),
        _ if list.is_empty() => "void".to_owned(),
        _ => list.join(", "),
    };
    writeln!(out, "{}{name}({list});\n", c_type(result)).unwrap();
}

fn header(source: &str) -> String {
    let mut out = "/* rsc.h: calls that a server carries out, for programs linked with -lrsc; docs/remote.md tells more. Made of the\n \
                   * library's source by runtime/sdk/tests/header.rs. */\n#ifndef RSC_H\n#define RSC_H\n\n#include <sys/stat.h>\n\
                   #include <sys/types.h>\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n"
        .to_owned();
    // Signatures may be several lines long.
    let (mut docs, mut whole, mut members) = (Vec::new(), String::new(), false);
    for line in source.lines() {
        let text = line.trim();
        if let Some(doc) = text.strip_prefix("/// ") {
            docs.push(doc);
            continue;
        }
        if text.starts_with("#[") {
            continue;
        }
        if text == "pub(crate) struct rsc_settings {" {
            comment(&mut out, &docs, "");
            writeln!(out, "struct rsc_settings {{").unwrap();
            members = true;
        } else if members && text == "}" {
            writeln!(out, "}};\n").unwrap();
            members = false;
        } else if members {
            let (name, kind) = text.trim_start_matches("pub(crate) ").trim_end_matches(',').split_once(": ").unwrap();
            comment(&mut out, &docs, "    ");
            writeln!(out, "    {}{name};", c_type(kind)).unwrap();
        } else if !whole.is_empty()
            || (text.starts_with("pub(crate)") && text.contains("fn rsc_"))
            || text.starts_with("rsc_")
        {
            whole = format!("{whole} {text}");
            if !(text.ends_with('{') || text.ends_with(';')) {
                continue;
            }
            let (before, rest) = whole.split_once('(').map_or(("", ""), |parts| parts);
            let (before, rest) = if before.ends_with("pub") { rest.split_once('(').unwrap() } else { (before, rest) };
            let (arguments, rest) = rest.split_once(')').unwrap();
            let name = before.trim_end_matches(": ").rsplit(' ').next().unwrap();
            let result = rest.split_once("-> ").unwrap().1.split([' ', '{']).next().unwrap();
            let result = if rest.contains("-> *const c_char") { "*const c_char" } else { result };
            function(&mut out, &docs, name, arguments, result);
            whole.clear();
        }
        docs.clear();
    }
    out + "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
}

#[test]
fn header_is_current() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(top.join("../interpose/src/sys/api.rs")).unwrap();
    let made = header(&source);
    let path = top.join("c/rsc.h");
    if std::env::var_os("RSC_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), made, "run with RSC_WRITE_HEADER=1 to write rsc.h");
}
