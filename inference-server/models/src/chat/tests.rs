use super::*;
use crate::error::Reason;

const FILE: Origin = Origin::Model("chat_template.jinja");

fn day() -> Date {
    jiff::civil::date(2026, 2, 3)
}

fn template(source: &str, origin: Origin) -> ChatTemplate {
    let special = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
    ChatTemplate::parse(source, origin, &special, day()).unwrap()
}

fn said(turns: &[(&str, &str)]) -> Chat {
    let turn = |(role, content): &(&str, &str)| ChatMessage::new(role, content);
    Chat::from(turns.iter().map(turn).collect::<Vec<_>>())
}

fn hello() -> Chat {
    said(&[("user", "hi"), ("assistant", "hello")])
}

fn rendered(source: &str) -> String {
    template(source, FILE).render(&hello()).unwrap()
}

#[test]
fn templates_see_what_transformers_gives_them() {
    assert_eq!(
        rendered(
            "{{ bos_token }}{{ eos_token }}{% if tools is none %}-{% endif %}{% if not add_generation_prompt %}+{% endif %}"
        ),
        "<s>-+"
    );
    assert_eq!(
        rendered("{% for m in messages %}{{ m.role }}:{{ m['content'].upper() }};{% endfor %}"),
        "user:HI;assistant:HELLO;"
    );
    assert_eq!(
        rendered("{{ none }} {{ true }} {{ messages[-1].role }}"),
        "None True assistant"
    );
}

#[test]
fn white_space_around_tags_is_that_of_transformers() {
    let source = "  {% for m in messages %}\n{{ m.content }}\n  {% endfor %}\nend\n";
    assert_eq!(rendered(source), "hi\nhello\nend");
}

#[test]
fn generation_tags_do_nothing() {
    assert_eq!(
        rendered(
            "a{% generation %}b{%- endgeneration -%} c {%generation%}\nd{% endgeneration %}{% set generation = 1 %}{{ generation }}"
        ),
        "abc d1"
    );
    assert_eq!(
        without_generation_tags("{% if x %}{% open"),
        "{% if x %}{% open"
    );
}

#[test]
fn json_is_written_as_python_writes_it() {
    let value = r#"{'b': [1, 2.5, none, true], 'a': 'é"\n<'}"#;
    assert_eq!(
        rendered(&format!("{{{{ {value} | tojson }}}}")),
        r#"{"b": [1, 2.5, null, true], "a": "é\"\n<"}"#
    );
    assert_eq!(
        rendered(&format!(
            "{{{{ {value} | tojson(indent=2, sort_keys=true) }}}}"
        )),
        "{\n  \"a\": \"é\\\"\\n<\",\n  \"b\": [\n    1,\n    2.5,\n    null,\n    true\n  ]\n}"
    );
    assert_eq!(
        rendered("{{ [] | tojson }}{{ {} | tojson(indent=1) }}"),
        "[]{}"
    );
    assert_eq!(
        rendered("{{ 'é😀' | tojson(ensure_ascii=true) }}"),
        r#""\u00e9\ud83d\ude00""#
    );
}

#[test]
fn the_date_is_the_one_that_was_given() {
    let dated = template("{{ strftime_now('%d %B %Y, %H:%M') }}", FILE);
    assert_eq!(dated.render(&hello()).unwrap(), "03 February 2026, 00:00");
    assert_eq!(dated.date(), Some(day()));
    assert_eq!(template("x", FILE).date(), None);
}

#[test]
fn loops_may_be_left() {
    assert_eq!(
        rendered("{% for m in messages %}{{ m.content }}{% break %}{% endfor %}"),
        "hi"
    );
}

#[test]
fn what_a_template_raises_is_said() {
    let raising = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% endfor %}";
    let error = template(raising, FILE)
        .render(&said(&[("system", "x")]))
        .unwrap_err();
    let InputError::Template(reason) = error else {
        panic!("{error:?}")
    };
    assert_eq!(reason, "System role not supported");
}

#[test]
fn a_template_that_does_not_end_is_ended() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ 'x' * 1000000000000 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ strftime_now('%') }}",
        "{{ messages[0].foo.bar }}",
        "{{ nothing() }}",
    ] {
        let error = template(source, FILE).render(&hello()).unwrap_err();
        assert!(
            matches!(error, InputError::Template(_)),
            "{source}: {error:?}"
        );
    }
}

/// A list that holds itself twice over, again and again.
const DOUBLED: &str = "{% set ns = namespace(x=[1], y=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}";

#[test]
fn a_list_that_doubles_itself_is_not_written() {
    for use_of in [
        "{{ ns.x }}",
        "{{ ns.x | tojson }}",
        "{{ ''.join([ns.x]) }}",
        "{{ '{}'.format(ns.x) }}",
        "{{ [ns.x].count(ns.y) }}",
        "{{ {'a': 1}.get(ns.x) }}",
        "{{ raise_exception(ns.x) }}",
        "{{ strftime_now(ns.x) }}",
        "{{ debug() }}",
    ] {
        ended(&format!("{DOUBLED}{use_of}"));
    }
}

#[test]
fn a_namespace_that_could_hold_itself_is_refused() {
    let refused = |source: &str| {
        let error = ChatTemplate::parse(source, FILE, &BTreeMap::new(), day()).unwrap_err();
        assert_eq!(error.reason, Reason::ModelInvalid);
        assert!(
            error.message.contains("whole"),
            "{source}: {}",
            error.message
        );
    };
    for holding in [
        "{% set ns.a = ns %}",
        "{% set ns.a = [ns] %}",
        "{% set m = ns %}{% set m.a = m %}",
        "{% set ns.a = ns.items() %}",
        "{% set ns.a = (ns.values)() %}",
        "{% for m in [ns] %}{% set m.a = m %}{% endfor %}",
        "{% macro f(m) %}{% set m.a = m %}{% endmacro %}{{ f(ns) }}",
        "{% raw %}{{ ' {% endraw %}{% set ns.a = ns %}{# ' #}",
        "{{ ns | upper }}",
    ] {
        refused(&format!("{{% set ns = namespace() %}}{holding}"));
    }
    for made in [
        "{% set f = namespace %}",
        "{% set m = [namespace()] %}",
        "{% set m = namespace(), 1 %}{% set n = m[0] %}{% set n.a = n %}",
        "{% set m = namespace(a=namespace()) %}{% set n = m.a %}{% set n.a = n %}",
        "{% with m = namespace() %}{% endwith %}",
    ] {
        refused(made);
    }
}

#[test]
fn a_namespace_is_used_as_models_use_it() {
    let source = "{%- set ns = namespace(found=false, texts=[]) -%}{% for m in messages %}{% if ns.found and ns['texts'] is defined %}{% set ns.texts = ns.texts + [m.content] %}{% endif %}{% set ns.found = true %}{% endfor %}{% if ns is defined %}{{ ns.texts | join(ns.found ~ '') }}{% endif %}{{ {'ns': 'ns'}.ns }}";
    assert_eq!(rendered(source), "hellons");
}

#[test]
fn a_template_that_is_nested_as_deeply_as_its_bytes_allow_does_not_end_the_process() {
    for (begin, inner, end) in [
        ("{{ x", ".a", " }}"),
        ("{{ x", "|e", " }}"),
        ("{{ x", "()", " }}"),
        ("{{ 1", "+1", " }}"),
        ("{{ 1", "**1", " }}"),
        ("{{ 1", " is eq 1", " }}"),
        ("{{ 1", " if x else 1", " }}"),
        ("{{ ", "-", "1 }}"),
        ("{{ ", "not ", "1 }}"),
        ("{{ ", "(", "1 }}"),
        ("{% if x %}", "{% elif x %}", "{% endif %}"),
    ] {
        let inner = inner.repeat((LONGEST - 64) / inner.len());
        let parsed = ChatTemplate::parse(
            &format!("{begin}{inner}{end}"),
            FILE,
            &BTreeMap::new(),
            day(),
        );
        if let Ok(template) = parsed {
            template.render(&hello()).ok();
        }
    }
    let long = " ".repeat(LONGEST + 1);
    let error = ChatTemplate::parse(&long, FILE, &BTreeMap::new(), day()).unwrap_err();
    assert!(error.message.contains("bytes"), "{}", error.message);
}

#[test]
fn more_text_than_the_fuel_pays_for_is_not_made_at_once() {
    for source in [
        "{{ '{:>1000000000000}'.format('x') | length }}",
        "{{ '{:99999999999999999999}'.format('x') | length }}",
        "{{ '{:.2000000000f}'.format(1.5) | length }}",
        "{{ ('{0}' * 9999).format('x' * 999999) | length }}",
        "{{ ''.join(['x' * 999999] * 9999) | length }}",
        "{{ (['x' * 999999] * 9999) | tojson | length }}",
        "{{ strftime_now('%255d' * 999999) | length }}",
    ] {
        ended(source);
    }
}

#[test]
fn lists_in_lists_do_not_overflow_the_stack() {
    let deep = "{% set ns = namespace(x=[], y=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}";
    template(deep, FILE).render(&hello()).ok();
    for use_of in ["{{ ns.x }}", "{{ ns.x | tojson }}"] {
        ended(
            &deep
                .replace("99999", "30000")
                .replace("{% endfor %}", &format!("{{% endfor %}}{use_of}")),
        );
    }
    let equal = "{% set ns = namespace(x=[], y=[]) %}{% for a in range(20000) %}{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}";
    template(equal, FILE).render(&hello()).ok();
}

#[test]
fn a_format_with_foreign_letters_is_formatted_or_refused() {
    for (source, expected) in [
        ("{{ 'é {} ü'.format('x') }}", "é x ü"),
        ("{{ 'é %s ü' | format('x') }}", "é x ü"),
        ("{{ '%(a)s' | format(a='é') }}", "é"),
    ] {
        assert_eq!(template(source, FILE).render(&hello()).unwrap(), expected);
    }
    for source in [
        "{{ '{0[é]}'.format({'é': 1}) }}",
        "{{ '{0[é'.format('x') }}",
        "{{ '%(é)s' | format(a=1) }}",
        "{{ '%(é' | format('x') }}",
    ] {
        ended(source);
    }
}

fn ended(source: &str) {
    let error = template(source, FILE).render(&hello()).unwrap_err();
    assert!(
        matches!(error, InputError::Template(_)),
        "{source}: {error:?}"
    );
}

#[test]
fn a_template_that_cannot_be_parsed_is_named() {
    for source in ["{% for %}", "{{ ", "{% if x %}", "{% endgeneration %}"] {
        let error = ChatTemplate::parse(source, FILE, &BTreeMap::new(), day()).unwrap_err();
        assert_eq!(error.reason, Reason::ModelInvalid);
        assert!(
            error.message.contains("chat_template.jinja"),
            "{}",
            error.message
        );
    }
    let error = ChatTemplate::parse("{{", Origin::Flag, &BTreeMap::new(), day()).unwrap_err();
    assert!(
        error.message.contains("--prompt-template"),
        "{}",
        error.message
    );
}

#[test]
fn a_prompt_template_has_prompt_and_response_of_two_turns_alone() {
    let prompted = template("Q: {{ prompt }} A: {{ response }}", Origin::Flag);
    assert_eq!(prompted.render(&hello()).unwrap(), "Q: hi A: hello");
    let longer = said(&[
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
    ]);
    assert!(matches!(
        prompted.render(&longer),
        Err(InputError::Template(_))
    ));
    let turns = template(
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        Origin::Flag,
    );
    assert_eq!(turns.render(&longer).unwrap(), "abcd");
}
