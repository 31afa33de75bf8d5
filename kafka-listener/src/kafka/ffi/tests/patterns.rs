//! What is said of a pattern of topics.

use super::super::pattern_fault;

#[test]
fn what_can_be_compiled_is_taken_commas_and_all() {
    for pattern in
        ["^orders", "^.*-orders$", "^(a|b)-[0-9]{2}$", "^a{1,3}b{2,}$", "^[^,]+", "^a,b", "^[+-,]$", "^a{2,2}", "^x"]
    {
        assert_eq!(pattern_fault(pattern), None, "{pattern}");
    }
}

#[test]
fn what_cannot_be_compiled_is_told_why() {
    for pattern in
        ["^(orders", "^[orders", "^orders)(", "^a{3,1}", "^a{2,x}", "^a{1,99999}", "^a{1", "^[z-a]", "^a\\", "^[[:x:]]"]
    {
        let fault = pattern_fault(pattern).unwrap_or_else(|| panic!("`{pattern}` is taken"));
        assert!(!fault.is_empty() && !fault.contains(pattern), "{pattern}: {fault}");
    }
    assert_eq!(pattern_fault("^a\0b").as_deref(), Some("it holds a NUL character"));
}
