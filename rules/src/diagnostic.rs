//! What is wrong with a rule file, by Falco's codes, with the place underlined.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// Something a person should know about a rule file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file's name as given.
    pub file: String,
    /// Line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters to underline.
    pub length: usize,
    /// Falco's code.
    pub code: Code,
    /// Whether something was left out because of it.
    pub severity: Severity,
    /// What is wrong and, where it is not plain, what to do.
    pub message: String,
    /// Which list, macro or rule it is about, e.g. `rule "Shell in container"`.
    pub item: String,
    /// The line of the file.
    pub snippet: String,
}

/// Whether something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The item was left out; Falco would have refused the whole file.
    Error,
    /// The item was loaded, or left out as its author allowed.
    Warning,
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $severity:ident, $doc:literal;)*) => {
        /// Falco's codes for what can be wrong with rules.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        pub enum Code { $(#[doc = $doc] #[serde(rename = $name)] $variant,)* }

        impl Code {
            /// The code as Falco prints it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Errors leave an item out, warnings do not.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    FileRead = "LOAD_ERR_FILE_READ", Error, "The file cannot be read.";
    YamlParse = "LOAD_ERR_YAML_PARSE", Error, "The text is not YAML.";
    YamlValidate = "LOAD_ERR_YAML_VALIDATE", Error, "The YAML has not the shape of rules.";
    CompileCondition = "LOAD_ERR_COMPILE_CONDITION", Error, "A condition cannot be compiled.";
    CompileOutput = "LOAD_ERR_COMPILE_OUTPUT", Error, "An output cannot be compiled.";
    Validate = "LOAD_ERR_VALIDATE", Error, "An item contradicts another or itself.";
    UnknownSource = "LOAD_UNKNOWN_SOURCE", Warning, "A rule for a source that is not read here.";
    UnsafeNaCheck = "LOAD_UNSAFE_NA_CHECK", Warning, "A comparison with `<NA>` where absence is null.";
    NoEvttype = "LOAD_NO_EVTTYPE", Warning, "A rule that must look at every event.";
    UnknownFilter = "LOAD_UNKNOWN_FILTER", Warning, "An unknown field that the rule allows for.";
    UnusedMacro = "LOAD_UNUSED_MACRO", Warning, "A macro that nothing uses.";
    UnusedList = "LOAD_UNUSED_LIST", Warning, "A list that nothing uses.";
    UnknownItem = "LOAD_UNKNOWN_ITEM", Warning, "An item that is no rule, macro, list or requirement.";
    DeprecatedItem = "LOAD_DEPRECATED_ITEM", Warning, "A form that Falco will drop.";
    Extension = "LOAD_WARNING_EXTENSION", Warning, "Something that only Bailiwick says.";
    AppendNoValues = "LOAD_APPEND_NO_VALUES", Warning, "An appended exception without values.";
    ExceptionNameNotUnique = "LOAD_EXCEPTION_NAME_NOT_UNIQUE", Warning, "Two exceptions of one name.";
    InvalidMacroName = "LOAD_INVALID_MACRO_NAME", Warning, "A macro name that no condition can use.";
    InvalidListName = "LOAD_INVALID_LIST_NAME", Warning, "A list name that no condition can use.";
    ConditionWarning = "LOAD_COMPILE_CONDITION", Warning, "A condition that may not mean what it says.";
    UnknownKey = "LOAD_UNKNOWN_KEY", Warning, "A key that means nothing here.";
}

// === impl Diagnostic ===

impl Diagnostic {
    /// A file of this name cannot be read.
    pub fn unreadable(file: &str, error: &std::io::Error) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            length: 0,
            code: Code::FileRead,
            severity: Code::FileRead.severity(),
            message: error.to_string(),
            item: String::new(),
            snippet: String::new(),
        }
    }

    /// Whether something was left out.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Several lines for people: code, message, place, the line with the text underlined.
    pub fn render(&self) -> String {
        let severity = if self.is_error() { "error" } else { "warning" };
        let mut out = format!("{severity}[{}]: {}\n", self.code, self.message);
        let _ = write!(out, "  --> {}", self.file);
        if self.line > 0 {
            let _ = write!(out, ":{}:{}", self.line, self.column);
        }
        if !self.item.is_empty() {
            let _ = write!(out, " in {}", self.item);
        }
        if self.line > 0 {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(self.column.saturating_sub(1));
            let marks = "^".repeat(self.length.max(1));
            let _ = write!(out, "\n {margin} |\n {number} | {}\n {margin} | {indent}{marks}", self.snippet);
        }
        out
    }
}

impl fmt::Display for Diagnostic {
    /// As [`Diagnostic::render`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
