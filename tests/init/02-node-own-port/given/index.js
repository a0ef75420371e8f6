// process.env.PORT is not looked at
app.listen({ port: 3000 });
