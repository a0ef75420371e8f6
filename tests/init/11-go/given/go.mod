module example.org/tools/hello/v2

go 1.24
