package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"shoal/testdata"
)

// defaultProfile is what others borrow from.
const defaultProfile = "default"

// ReadProfile reads the JSON in r; name stands for it in errors.
func ReadProfile(r io.Reader, name string) (*Profile, error) {
	p, err := decodeProfile(r, name)
	if err != nil {
		return nil, err
	}
	from, err := readDefault()
	if err != nil {
		return nil, err
	}
	p.borrow(from)
	return p, p.finish()
}

// readDefault reads the profile that others borrow from, once. Nobody changes it.
var readDefault = sync.OnceValues(func() (*Profile, error) {
	data, err := fs.ReadFile(testdata.Profiles(), defaultProfile+".json")
	if err != nil {
		return nil, err
	}
	p, err := decodeProfile(bytes.NewReader(data), defaultProfile)
	if err != nil {
		return nil, err
	}
	return p, p.finish()
})

// OpenProfile reads the profile of that name that comes with shoal, or a file.
func OpenProfile(nameOrFile string) (*Profile, error) {
	if p, err := embeddedProfile(nameOrFile); !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	f, err := Open(nameOrFile)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("profile %q: neither a file nor one of %s", nameOrFile, strings.Join(ProfileNames(), ", "))
		}
		return nil, err
	}
	p, err := ReadProfile(f, nameOrFile)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return p, nil
}

// ProfileNames are the profiles that come with shoal, sorted.
func ProfileNames() []string {
	entries, err := fs.ReadDir(testdata.Profiles(), ".")
	if err != nil {
		panic(fmt.Sprintf("BUG: embedded profiles: %v", err))
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// embeddedProfile returns fs.ErrNotExist for a name that none has.
func embeddedProfile(name string) (*Profile, error) {
	if strings.ContainsAny(name, `/\.`) {
		return nil, fs.ErrNotExist
	}
	if name == defaultProfile {
		p, err := readDefault()
		if err != nil {
			return nil, err
		}
		own := *p
		return &own, nil
	}
	data, err := fs.ReadFile(testdata.Profiles(), name+".json")
	if err != nil {
		return nil, fs.ErrNotExist
	}
	return ReadProfile(bytes.NewReader(data), name)
}

func decodeProfile(r io.Reader, name string) (*Profile, error) {
	data, err := io.ReadAll(io.LimitReader(r, profileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > profileBytesMax {
		return nil, &Error{File: name, Why: fmt.Sprintf("longer than %d bytes", profileBytesMax)}
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields() // a misspelled section would be borrowed silently
	p := &Profile{}
	if err := decoder.Decode(p); err != nil {
		return nil, jsonError(name, data, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, &Error{File: name, Line: lineAt(data, decoder.InputOffset()), Why: "something follows the profile"}
	}
	if err := p.Validate(); err != nil {
		return nil, &Error{File: name, Why: err.Error()}
	}
	return p, nil
}

// jsonError names the line of an error of encoding/json, where that knows it.
func jsonError(name string, data []byte, err error) error {
	out := &Error{File: name, Why: strings.TrimPrefix(err.Error(), "json: ")}
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		out.Why = "ends in the middle of the profile"
	case errors.As(err, &syntax):
		out.Line = lineAt(data, syntax.Offset)
	case errors.As(err, &wrongType):
		out.Line = lineAt(data, wrongType.Offset)
		out.Column = wrongType.Field
		out.Why = fmt.Sprintf("is a %s, where a %s belongs", wrongType.Value, wrongType.Type.Kind())
	}
	return out
}

func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), int64(len(data)))], []byte("\n"))
}

// WriteProfile writes p so that ReadProfile reads it. It writes also what p has
// borrowed; importers write profiles that have borrowed nothing yet.
func WriteProfile(w io.Writer, p *Profile) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("profile %q: %w", p.Name, err)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	return encoder.Encode(p)
}
