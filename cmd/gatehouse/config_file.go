package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// file is a configuration file as it was read: what it says, and which line says it.
type file struct {
	name   string
	root   *yaml.Node        // pruned of everything that is at fault; nil when the file is empty
	lines  map[string]string // by key: config.yaml:12
	faults Faults
}

// parseFile reads YAML against the keys of Config and notes every fault with its line. It is stricter
// than any decoder: viper lets a misspelt key pass when its value is null or {}, and makes "1" of
// true; yaml takes a bare 60 for sixty nanoseconds. What is left in root decodes without an error.
func parseFile(name string, text []byte) *file {
	f := &file{name: name, lines: map[string]string{}}
	var doc yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file is a file of defaults
			f.faults = append(f.faults, Fault{Source: name, Text: "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), whole: true})
		}
		return f
	}
	if err := in.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		f.faults = append(f.faults, Fault{Source: name, Text: "holds more than one YAML document", Fix: "remove what follows the line ---"})
	}
	root := doc.Content[0]
	if f.walk(root, reflect.TypeFor[Config](), "") && root.Kind == yaml.MappingNode {
		f.root = root
	}
	return f
}

// fault notes what is wrong with the value of a key.
func (f *file) fault(n *yaml.Node, path, text, fix string) {
	value := ""
	if n.Kind == yaml.ScalarNode && !isSecret(path) {
		value = shown(n.Value)
	}
	f.faults = append(f.faults, Fault{Key: path, Value: value, Source: f.at(n), Text: text, Fix: fix})
}

func (f *file) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", f.name, n.Line) }

// walk checks a node against a type and reports whether it may stay.
func (f *file) walk(n *yaml.Node, t reflect.Type, path string) bool {
	f.lines[path] = f.at(n)
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" {
		return f.null(n, t, path)
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Struct:
		return f.mapping(n, t, path)
	case t.Kind() == reflect.Slice:
		return f.list(n, t, path)
	default:
		return f.scalar(n, t, path)
	}
}

// null lets a key without a value be unset, but for lists and allow: "allow:" whose entries were
// commented out would let everybody in, and "methods:" would cover every method.
func (f *file) null(n *yaml.Node, t reflect.Type, path string) bool {
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		f.fault(n, path, "has no value", "give one, or remove the key")
	}
	return false
}

// mapping checks a group of keys and drops the pairs at fault.
func (f *file) mapping(n *yaml.Node, t reflect.Type, path string) bool {
	if n.Kind != yaml.MappingNode {
		f.fault(n, path, "not "+wanted(t), "indent its keys below it")
		return false
	}
	known := map[string]reflect.Type{}
	for field := range fields(t) {
		known[field.Tag.Get("yaml")] = field.Type
	}
	seen := map[string]bool{}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		full := strings.TrimPrefix(path+"."+name.Value, ".")
		at, ok := known[name.Value]
		switch {
		case !ok:
			f.unknown(name, full, path, known)
		case seen[name.Value]:
			f.faults = append(f.faults, Fault{Key: full, Source: f.at(name), Text: "given twice", Fix: "keep one of them"})
		case f.walk(value, at, full):
			kept = append(kept, name, value)
		}
		seen[name.Value] = true
	}
	n.Content = kept
	return true
}

// unknown notes a key that we do not have. Its value is not shown: it may be a secret whose key is
// misspelt.
func (f *file) unknown(name *yaml.Node, full, path string, known map[string]reflect.Type) {
	fix := "see config.yaml for all keys"
	var here []string
	for k := range known {
		here = append(here, k)
	}
	if k := closest(name.Value, here); k != "" {
		fix = "did you mean " + strings.TrimPrefix(path+"."+k, ".") + "?"
	} else if k := elsewhere(name.Value); k != "" {
		fix = "did you mean " + k + "?"
	}
	f.faults = append(f.faults, Fault{Key: full, Source: f.at(name), Text: "unknown key", Fix: fix})
}

// elsewhere finds the key of another group that has this last name: redis is store.redis.
func elsewhere(name string) string {
	for _, k := range configKeys() {
		if strings.HasSuffix(k.name, "."+name) {
			return k.name
		}
	}
	return ""
}

func (f *file) list(n *yaml.Node, t reflect.Type, path string) bool {
	if n.Kind != yaml.SequenceNode {
		f.fault(n, path, "not "+wanted(t), "write [x], even for one")
		return false
	}
	kept := make([]*yaml.Node, 0, len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.Tag == "!!null" {
			f.fault(item, at, "has no value", "remove it")
			continue
		}
		if f.walk(item, t.Elem(), at) {
			kept = append(kept, item)
		}
	}
	whole := len(kept) == len(n.Content)
	if t == listType && !whole {
		return false // half a list of hosts or roles is another rule
	}
	n.Content = kept
	return true
}

// scalar insists on the type that YAML itself sees, so that no value is turned into another type.
func (f *file) scalar(n *yaml.Node, t reflect.Type, path string) bool {
	ok := false
	switch {
	case n.Kind != yaml.ScalarNode:
	case t == durationType:
		_, err := time.ParseDuration(n.Value)
		ok = err == nil && n.Tag == "!!str"
	case t == publicType:
		ok = n.Tag == "!!bool" || n.Tag == "!!str"
	case t == sizeType:
		_, err := ParseSize(n.Value)
		ok = err == nil
	case t == countType:
		_, err := strconv.ParseInt(n.Value, 10, 64) // YAML's own integers include 0x1f and 1_000
		ok = err == nil && n.Tag == "!!int"
	case t.Kind() == reflect.Bool:
		ok = n.Tag == "!!bool"
	default:
		ok = n.Tag == "!!str"
	}
	if !ok {
		fix := ""
		if t.Kind() == reflect.String && n.Kind == yaml.ScalarNode {
			fix = "put it in quotes"
		}
		f.fault(n, path, "not "+wanted(t), fix)
	}
	return ok
}

// isSecret reports whether the value of a key must not be shown.
func isSecret(path string) bool {
	for _, k := range configKeys() {
		if k.name == path {
			return k.secret
		}
	}
	return false
}

// UnmarshalYAML starts from the defaults of a route, which a list of the file cannot inherit from
// Defaults.
func (r *RouteConfig) UnmarshalYAML(node *yaml.Node) error {
	type plain RouteConfig // without this method, or it would call itself
	route := plain(defaultRoute())
	if err := node.Decode(&route); err != nil {
		return err
	}
	*r = RouteConfig(route)
	return nil
}

// UnmarshalYAML reads a size in a file, of which walk has seen that it is one.
func (s *Size) UnmarshalYAML(node *yaml.Node) (err error) {
	*s, err = ParseSize(node.Value)
	return err
}
